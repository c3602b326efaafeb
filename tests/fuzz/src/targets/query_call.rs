//! The forms of calls of query APIs: their parameters, and the actions that they name.

use strata_gateway::query_api::{self, Parameters, Service};

use crate::allocation::bounded;

pub(super) fn run(data: &[u8]) {
    let Some(parameters) = bounded(data.len(), || Parameters::parse(data).ok()) else {
        return;
    };
    for service in [None, Some(Service::Iam), Some(Service::Sts)] {
        let Ok(action) = query_api::find(service, &parameters) else {
            continue;
        };
        assert_eq!(parameters.get("Action"), Some(action.name));
    }
    if let Ok(members) = parameters.members("Tags", "Key") {
        assert!(members.len() <= data.len());
    }
    let _ = parameters.number("MaxItems", 1, 1000);
    let _ = parameters.boolean("SetAsDefault");
    let _ = parameters.required("UserName");
    let action = query_api::find(None, &parameters);
    if let Ok(action) = action {
        let _ = parameters.known_to(action);
    }
}
