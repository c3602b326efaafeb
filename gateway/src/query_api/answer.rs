//! The documents of answers and errors (<https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>, "Operation response and error serialization").

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, header};

use super::{Action, Service};
use crate::error::{Code, Fault};
use crate::response::{Response, ResponseBody};
use crate::xml::Writer;

/// The type of all documents here.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/xml");

/// Actions whose result has nothing in it and is there all the same: SDKs look for it (IAM API reference, "UpdateRole").
const EMPTY_RESULTS: &[&str] = &["UpdateRole"];

/// The answer of an action with this result.
pub fn of_result(action: &Action, result: &Writer, id: impl fmt::Display) -> Response {
    let name = action.name;
    let mut xml = Writer::in_namespace(format!("{name}Response"), action.service.namespace());
    match EMPTY_RESULTS.contains(&name) {
        true => xml.element(&format!("{name}Result"), ""),
        false => xml.embed(&format!("{name}Result"), result),
    }
    xml.open("ResponseMetadata");
    xml.value("RequestId", id);
    xml.close("ResponseMetadata");
    let mut response = Response::ok();
    response.headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response.body = ResponseBody::Bytes(xml.finish());
    response
}

/// The document of an error.
pub fn of_fault(service: Service, fault: &Fault, id: impl fmt::Display) -> Bytes {
    let mut xml = Writer::in_namespace("ErrorResponse", service.namespace());
    let by_client = fault.code.status().is_client_error();
    xml.open("Error");
    xml.element("Type", if by_client { "Sender" } else { "Receiver" });
    xml.element("Code", fault.code.name());
    xml.element("Message", &fault.message);
    xml.close("Error");
    xml.value("RequestId", id);
    xml.finish()
}

/// A fault by the code that this protocol has for it (IAM API reference, "Common errors").
pub fn in_protocol(mut fault: Fault) -> Fault {
    let code = match fault.code {
        Code::AuthorizationHeaderMalformed | Code::AuthorizationQueryParametersError => {
            Code::IncompleteSignature
        }
        Code::InternalError => Code::InternalFailure,
        Code::InvalidAccessKeyId | Code::InvalidToken => Code::InvalidClientTokenId,
        Code::InvalidArgument | Code::InvalidRequest | Code::MaxMessageLengthExceeded => {
            Code::ValidationError
        }
        Code::InvalidURI => Code::MalformedQueryString,
        Code::RequestTimeTooSkewed => Code::SignatureDoesNotMatch,
        Code::SlowDown => Code::Throttling,
        code => return Fault { code, ..fault },
    };
    if fault.message == fault.code.message() && fault.code != Code::RequestTimeTooSkewed {
        fault.message = code.message().into();
    }
    Fault { code, ..fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query_api::ACTIONS;

    #[test]
    fn an_error_names_whose_it_is() {
        let id = "4442587FB7D0A2F9";
        let text = |fault: Fault| {
            let body = of_fault(Service::Iam, &fault, id);
            String::from_utf8(body.to_vec()).expect("UTF-8")
        };
        let sent = text(Fault::new(
            Code::NoSuchEntity,
            "The user <a> cannot be found.",
        ));
        let error = "<Error><Type>Sender</Type><Code>NoSuchEntity</Code>\
                     <Message>The user &lt;a&gt; cannot be found.</Message></Error>";
        let expected = format!(
            "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">{error}<RequestId>{id}</RequestId></ErrorResponse>"
        );
        assert!(sent.ends_with(&expected), "{sent}");
        let own = text(in_protocol(Code::InternalError.into()));
        assert!(
            own.contains("<Type>Receiver</Type><Code>InternalFailure</Code>"),
            "{own}"
        );
    }

    #[test]
    fn a_result_with_nothing_in_it_is_there_where_sdks_look_for_it() {
        for (name, is_there) in [("UpdateRole", true), ("DeleteRole", false)] {
            let action = ACTIONS.iter().find(|row| row.name == name).expect("a row");
            let answer = of_result(action, &Writer::fragment(), "4442587FB7D0A2F9");
            let ResponseBody::Bytes(body) = answer.body else {
                panic!("no document");
            };
            let text = String::from_utf8(body.to_vec()).expect("UTF-8");
            assert_eq!(text.contains(&format!("{name}Result")), is_there, "{text}");
        }
    }

    #[test]
    fn faults_have_the_codes_of_the_protocol() {
        for (code, expected) in [
            (Code::InvalidAccessKeyId, Code::InvalidClientTokenId),
            (Code::SlowDown, Code::Throttling),
            (Code::NoSuchEntity, Code::NoSuchEntity),
        ] {
            let fault = in_protocol(code.into());
            assert_eq!(
                (fault.code, &*fault.message),
                (expected, expected.message())
            );
        }
        let skewed = in_protocol(Code::RequestTimeTooSkewed.into());
        assert_eq!(skewed.code, Code::SignatureDoesNotMatch);
        assert_eq!(skewed.message, Code::RequestTimeTooSkewed.message());
    }
}
