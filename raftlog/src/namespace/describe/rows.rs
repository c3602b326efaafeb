//! What each kind of row holds.

use super::*;

impl Described for Entry {
    fn fields(&self) -> Description {
        let kind = match self.kind {
            EntryKind::File => "file",
            EntryKind::Directory => "directory",
        };
        Description::new()
            .with("kind", kind)
            .with("implicit", self.implicit)
            .with("inode", self.inode)
            .with("size", self.size)
            .with("mode", Value::Word(format!("{:o}", self.mode).into()))
            .with("uid", self.uid)
            .with("gid", self.gid)
            .with("link_count", self.link_count)
            .with("accessed_nanos", self.accessed_nanos)
            .with("modified_nanos", self.modified_nanos)
            .with("changed_nanos", self.changed_nanos)
            .with("change_counter", self.change_counter)
            .with("etag", self.etag)
            .with("checksum", self.checksum.as_ref().map(Described::fields))
            .with("commit_sequence", self.commit_sequence)
            .with("owner", self.owner)
            .with("storage_class", self.storage_class)
            .with("tag_count", self.tag_count)
            .with("has_access_list", self.has_access_list)
            .with("version", self.version.to_string())
            .with(
                "versioning",
                match self.versioning {
                    Versioning::Off => "off",
                    Versioning::Enabled => "enabled",
                    Versioning::Suspended => "suspended",
                },
            )
            .with("lock", lock_fields(self.lock))
            .with("bucket_lock", self.bucket_lock.map(|lock| lock.fields()))
    }
}

/// None where nothing was ever set.
fn lock_fields(lock: ObjectLock) -> Option<Description> {
    (lock != ObjectLock::NONE).then(|| lock.fields())
}

impl Described for ObjectLock {
    fn fields(&self) -> Description {
        let until = self.retention.map(|retention| retention.until_millis);
        Description::new()
            .with("retention", self.retention.map(|of| mode_name(of.mode)))
            .with("until_millis", until)
            .with("legal_hold", self.legal_hold)
    }
}

impl Described for BucketLock {
    fn fields(&self) -> Description {
        let (days, years) = match self.default.map(|default| default.period) {
            None => (None, None),
            Some(RetentionPeriod::Days(days)) => (Some(days), None),
            Some(RetentionPeriod::Years(years)) => (None, Some(years)),
        };
        Description::new()
            .with("retention", self.default.map(|of| mode_name(of.mode)))
            .with("days", days)
            .with("years", years)
    }
}

fn mode_name(mode: RetentionMode) -> &'static str {
    match mode {
        RetentionMode::Governance => "governance",
        RetentionMode::Compliance => "compliance",
    }
}

impl From<ETag> for Value {
    fn from(etag: ETag) -> Value {
        Value::Word(etag.to_string().into())
    }
}

impl From<StorageClass> for Value {
    fn from(class: StorageClass) -> Value {
        Value::from(match class {
            StorageClass::Standard => "STANDARD",
            StorageClass::ReducedRedundancy => "REDUCED_REDUNDANCY",
        })
    }
}

impl From<ChecksumAlgorithm> for Value {
    fn from(algorithm: ChecksumAlgorithm) -> Value {
        Value::from(match algorithm {
            ChecksumAlgorithm::Crc32 => "CRC32",
            ChecksumAlgorithm::Crc32c => "CRC32C",
            ChecksumAlgorithm::Crc64Nvme => "CRC64NVME",
            ChecksumAlgorithm::Sha1 => "SHA1",
            ChecksumAlgorithm::Sha256 => "SHA256",
        })
    }
}

impl From<ChecksumKind> for Value {
    fn from(kind: ChecksumKind) -> Value {
        Value::from(match kind {
            ChecksumKind::FullObject => "FULL_OBJECT",
            ChecksumKind::Composite => "COMPOSITE",
        })
    }
}

impl Described for Checksum {
    fn fields(&self) -> Description {
        Description::new()
            .with("algorithm", self.algorithm)
            .with("kind", self.kind)
            .with("value_hex", Value::hex(&self.value))
            .with("part_count", self.part_count)
    }
}

impl Described for Place {
    fn fields(&self) -> Description {
        Description::new()
            .with("parent", self.parent)
            .with_bytes("segment", &self.segment)
            .with(
                "kind",
                match self.kind {
                    PlaceKind::Name => "name",
                    PlaceKind::Upload => "upload",
                    PlaceKind::Version(_) => "version",
                },
            )
            .with(
                "position",
                match self.kind {
                    PlaceKind::Version(at) => Some(VersionId::Of(at).to_string()),
                    PlaceKind::Name | PlaceKind::Upload => None,
                },
            )
    }
}

impl Described for VersionRow {
    fn fields(&self) -> Description {
        match self {
            VersionRow::Object(entry) => entry.fields(),
            VersionRow::Marker(marker) => marker.fields(),
        }
    }
}

impl Described for Marker {
    fn fields(&self) -> Description {
        Description::new()
            .with("kind", "delete marker")
            .with("version", self.version.to_string())
            .with("modified_nanos", self.modified_nanos)
            .with("owner", self.owner)
    }
}

impl Described for NullVersion {
    fn fields(&self) -> Description {
        Description::new().with("position", VersionId::Of(self.0).to_string())
    }
}

impl Described for Upload {
    fn fields(&self) -> Description {
        Description::new()
            .with("initiated_nanos", self.initiated_nanos)
            .with("owner", self.owner)
            .with("storage_class", self.storage_class)
            .with("checksum_algorithm", self.checksum.map(|(of, _)| of))
            .with("checksum_kind", self.checksum.map(|(_, kind)| kind))
            .with("tag_count", self.tag_count)
            .with("has_access_list", self.has_access_list)
            .with("lock", lock_fields(self.lock))
            .with("commit_sequence", self.commit_sequence)
            .with("parts_changed", self.parts_changed)
    }
}

impl Described for Part {
    fn fields(&self) -> Description {
        Description::new()
            .with("space", self.space)
            .with("size", self.size)
            .with("etag", self.etag)
            .with("checksum", self.checksum.as_ref().map(Described::fields))
            .with("modified_nanos", self.modified_nanos)
    }
}

impl Described for ObjectAttributes {
    fn fields(&self) -> Description {
        let metadata = self.user_metadata.iter().map(|(name, value)| {
            Description::new()
                .with("name", name.clone())
                .with("value", value.clone())
        });
        Description::new()
            .with("content_type", self.content_type.clone())
            .with("cache_control", self.cache_control.clone())
            .with("content_disposition", self.content_disposition.clone())
            .with("content_encoding", self.content_encoding.clone())
            .with("content_language", self.content_language.clone())
            .with("expires", self.expires.clone())
            .with("website_redirect", self.website_redirect.clone())
            .with("user_metadata", metadata.collect::<Vec<_>>())
            .with("storage_class", self.storage_class)
    }
}

impl Described for TagsRow {
    fn fields(&self) -> Description {
        let tags = self.0.iter().map(|tag| {
            Description::new()
                .with("key", tag.key.clone())
                .with("value", tag.value.clone())
        });
        Description::new().with("tags", tags.collect::<Vec<_>>())
    }
}

impl Described for AccessListRow {
    fn fields(&self) -> Description {
        let grants = self.0.iter().map(|grant| {
            let (grantee, account) = match grant.grantee {
                Grantee::Account(account) => ("account", Some(account)),
                Grantee::AllUsers => ("all users", None),
                Grantee::AuthenticatedUsers => ("authenticated users", None),
                Grantee::LogDelivery => ("log delivery", None),
            };
            let permission = match grant.permission {
                Permission::FullControl => "full control",
                Permission::Read => "read",
                Permission::Write => "write",
                Permission::ReadAcp => "read acp",
                Permission::WriteAcp => "write acp",
            };
            Description::new()
                .with("grantee", grantee)
                .with("account", account)
                .with("permission", permission)
        });
        Description::new().with("grants", grants.collect::<Vec<_>>())
    }
}

impl Described for InlineRow {
    fn fields(&self) -> Description {
        Description::new().with("body_bytes", self.0.len())
    }
}

impl Described for ExtentRow {
    fn fields(&self) -> Description {
        let extents: Vec<Description> = self.0.iter().map(Described::fields).collect();
        Description::new().with("extents", extents)
    }
}

impl Described for Extent {
    fn fields(&self) -> Description {
        let kind = match self.kind {
            ExtentKind::Chunk => "chunk",
            ExtentKind::Zeros => "zeros",
        };
        Description::new()
            .with("length", self.length)
            .with("kind", kind)
            .with("chunk", self.chunk)
            .with("stored_length", self.stored_length)
            .with("offset", self.offset)
            .with("geometry", self.geometry)
            .with(
                "slot_mask",
                Value::Word(format!("{:#x}", self.slot_mask).into()),
            )
            .with("home_inode", self.home_inode)
    }
}

impl Described for SettingRow {
    fn fields(&self) -> Description {
        Description::new().with_bytes("document", &self.0)
    }
}

impl Described for SpanRow {
    fn fields(&self) -> Description {
        let spans = self.spans.iter().enumerate().map(|(at, span)| {
            Description::new()
                .with("space", span.space)
                .with("length", span.length)
                .with("checksum", self.checksum(at).map(Value::hex))
        });
        Description::new().with("spans", spans.collect::<Vec<_>>())
    }
}

impl Described for DroppedRow {
    fn fields(&self) -> Description {
        let fields = Description::new().with("inode", self.inode);
        match self.scope {
            DroppedScope::Inode => fields.with("scope", "inode"),
            DroppedScope::Space(space) => fields.with("scope", "space").with("space", space),
            DroppedScope::Parts => fields.with("scope", "parts"),
            DroppedScope::Moved(moved) => fields
                .with("scope", "moved")
                .with("chunk", moved.chunk)
                .with("home_inode", moved.home_inode)
                .with("length", moved.length),
        }
    }
}

impl Described for Pack {
    fn fields(&self) -> Description {
        Description::new()
            .with("bytes", self.bytes)
            .with("live_bytes", self.live_bytes)
            .with("live_extents", self.live_extents)
    }
}

impl Described for Session {
    fn fields(&self) -> Description {
        Description::new()
            .with("owner", self.owner)
            .with("opened_nanos", self.opened_nanos)
            .with("lowest_unanswered", self.lowest_unanswered)
            .with("outstanding", self.outstanding)
    }
}

impl Described for AnswerRow {
    fn fields(&self) -> Description {
        let answer = |kind: &'static str| Description::new().with("answer", kind);
        match &self.0 {
            Answer::Done => answer("done"),
            Answer::Session(session) => answer("session").with("session", *session),
            Answer::Inodes { first, count } => {
                answer("inodes").with("first", *first).with("count", *count)
            }
            Answer::Writer(writer) => answer("writer").with("writer", *writer),
            Answer::Epoch(epoch) => answer("epoch").with("epoch", *epoch),
            Answer::Put {
                inode,
                commit_sequence,
                etag,
                size,
                modified_nanos,
            }
            | Answer::PutVersion {
                inode,
                commit_sequence,
                etag,
                size,
                modified_nanos,
            } => answer("put")
                .with(
                    "version",
                    self.0.version().map(|version| version.to_string()),
                )
                .with("inode", *inode)
                .with("commit_sequence", *commit_sequence)
                .with("etag", *etag)
                .with("size", *size)
                .with("modified_nanos", *modified_nanos),
            Answer::Deleted(outcomes) => {
                let outcomes: Vec<&'static str> = outcomes.iter().map(outcome_word).collect();
                answer("deleted").with("outcomes", outcomes)
            }
            Answer::Repointed(outcomes) => {
                let outcomes: Vec<&'static str> = outcomes.iter().map(repoint_word).collect();
                answer("repointed").with("outcomes", outcomes)
            }
            Answer::Marked(outcomes) => {
                let outcomes: Vec<String> = outcomes.iter().map(mark_words).collect();
                answer("marked deleted").with("outcomes", outcomes)
            }
            Answer::VersionsDeleted(outcomes) => {
                let outcomes: Vec<&'static str> = outcomes.iter().map(version_word).collect();
                answer("versions deleted").with("outcomes", outcomes)
            }
            Answer::Tagged(_) => answer("tagged").with(
                "version",
                self.0.tagged_version().map(|version| version.to_string()),
            ),
            Answer::Refused(refusal) => answer("refused").with("why", refusal.to_string()),
        }
    }
}

fn outcome_word(outcome: &DeleteOutcome) -> &'static str {
    match outcome {
        DeleteOutcome::Deleted => "deleted",
        DeleteOutcome::Absent => "absent",
        DeleteOutcome::PreconditionFailed => "precondition failed",
    }
}

fn mark_words(outcome: &MarkOutcome) -> String {
    match outcome {
        MarkOutcome::Marked(version) => format!("version {version}"),
        MarkOutcome::PreconditionFailed => "precondition failed".to_owned(),
        MarkOutcome::Absent => "absent".to_owned(),
    }
}

fn version_word(outcome: &VersionDeleteOutcome) -> &'static str {
    match outcome {
        VersionDeleteOutcome::Deleted => "deleted",
        VersionDeleteOutcome::MarkerDeleted => "delete marker deleted",
        VersionDeleteOutcome::Absent => "absent",
        VersionDeleteOutcome::PreconditionFailed => "precondition failed",
        VersionDeleteOutcome::BringsBack => "would bring an object back",
        VersionDeleteOutcome::Locked => "locked",
    }
}

fn repoint_word(outcome: &RepointOutcome) -> &'static str {
    match outcome {
        RepointOutcome::Moved => "moved",
        RepointOutcome::Gone => "gone",
        RepointOutcome::Changed => "changed",
    }
}

impl Described for LogPosition {
    fn fields(&self) -> Description {
        Description::new()
            .with("term", self.term)
            .with("node", self.node)
            .with("index", self.index)
    }
}

impl Described for MembershipRow {
    fn fields(&self) -> Description {
        let fields = self.position.fields();
        fields.with("membership_hex", Value::hex(&self.bytes))
    }
}

impl Described for GroupState {
    fn fields(&self) -> Description {
        Description::new()
            .with("group", self.group)
            .with("feature_level", self.feature_level)
            .with("time_nanos", self.time_nanos)
            .with("commit_sequence", self.commit_sequence)
            .with("next_inode", self.next_inode)
            .with("next_session", self.next_session)
            .with("next_writer", self.next_writer)
    }
}

impl Described for BucketUsage {
    fn fields(&self) -> Description {
        Description::new()
            .with("objects", self.objects)
            .with("bytes", self.bytes)
    }
}

impl Described for ClusterIdentity {
    fn fields(&self) -> Description {
        Description::new()
            .with("cluster", Uuid(self.cluster))
            .with("incarnation", self.incarnation)
            .with("created_nanos", self.created_nanos)
    }
}

impl Described for Layout {
    fn fields(&self) -> Description {
        let kind = match self.kind {
            LayoutKind::Single => "single",
            LayoutKind::Mirrored => "mirrored",
            LayoutKind::ErasureCoded => "erasure coded",
        };
        Description::new()
            .with("kind", kind)
            .with("k", self.k)
            .with("m", self.m)
            .with("geometry", self.geometry)
    }
}

/// Without the secret.
impl Described for RootKey {
    fn fields(&self) -> Description {
        Description::new().with("access_key_id", self.access_key_id.clone())
    }
}

impl Described for Geometry {
    fn fields(&self) -> Description {
        let code = match self.code {
            GeometryCode::Copies => "copies",
            GeometryCode::CauchyGf8 => "cauchy gf8",
        };
        Description::new()
            .with("number", self.number)
            .with("code", code)
            .with("k", self.k)
            .with("m", self.m)
            .with("cell_bytes", self.cell_bytes)
    }
}

impl Described for PlacementGroup {
    fn fields(&self) -> Description {
        let slots = |slots: &[Slot]| slots.iter().map(Described::fields).collect::<Vec<_>>();
        Description::new()
            .with("number", self.number)
            .with("epoch", self.epoch)
            .with("pool", Uuid(self.pool))
            .with("slots", slots(&self.slots))
            .with("previous", slots(&self.previous))
    }
}

impl Described for Slot {
    fn fields(&self) -> Description {
        let state = match self.state {
            SlotState::Member => "member",
            SlotState::Removed => "removed",
            SlotState::Joining => "joining",
        };
        Description::new()
            .with("device", Uuid(self.device))
            .with("partition", self.partition)
            .with("state", state)
    }
}

impl Described for DeviceCondition {
    fn fields(&self) -> Description {
        Description::new()
            .with("device", Uuid(self.device))
            .with("state", self.state.word())
            .with("reason", self.reason.clone())
            .with("since_nanos", self.since_nanos)
            .with("capacity_bytes", self.capacity_bytes)
            .with("read_errors", self.errors.reads)
            .with("write_errors", self.errors.writes)
            .with("checksum_errors", self.errors.checksums)
    }
}

impl Described for Writer {
    fn fields(&self) -> Description {
        Description::new()
            .with("number", self.number)
            .with("node", self.node)
            .with("reactor", self.reactor)
            .with("registered_nanos", self.registered_nanos)
            .with("last_epoch", self.last_epoch)
            .with("open", self.open)
    }
}

impl Described for AllocationEpoch {
    fn fields(&self) -> Description {
        Description::new()
            .with("writer", self.writer)
            .with("epoch", self.epoch)
            .with("opened_nanos", self.opened_nanos)
    }
}

fn policy_names(policies: &[ManagedPolicyName]) -> Vec<Description> {
    let named = policies.iter().map(|policy| {
        let source = match policy.source {
            PolicySource::State => "state",
            PolicySource::BuiltIn => "built in",
        };
        Description::new()
            .with("source", source)
            .with("name", policy.name.clone())
    });
    named.collect()
}

impl Described for User {
    fn fields(&self) -> Description {
        Description::new()
            .with("name", self.name.clone())
            .with("id", self.id.clone())
            .with("path", self.path.clone())
            .with("account", self.account)
            .with("created_nanos", self.created_nanos)
            .with("groups", self.groups.clone())
            .with("access_key_ids", self.access_key_ids.clone())
            .with("attached", policy_names(&self.attached))
            .with("boundary", policy_names(self.boundary.as_slice()))
    }
}

impl Described for Group {
    fn fields(&self) -> Description {
        Description::new()
            .with("name", self.name.clone())
            .with("id", self.id.clone())
            .with("path", self.path.clone())
            .with("account", self.account)
            .with("created_nanos", self.created_nanos)
            .with("members", self.members)
            .with("attached", policy_names(&self.attached))
    }
}

impl Described for Account {
    fn fields(&self) -> Description {
        Description::new()
            .with("number", self.number)
            .with("name", self.name.clone())
            .with("created_nanos", self.created_nanos)
            .with("deleted", self.deleted)
            .with("access_key_ids", self.access_key_ids.clone())
    }
}

/// Without the secret.
impl Described for AccessKey {
    fn fields(&self) -> Description {
        Description::new()
            .with("access_key_id", self.id.clone())
            .with("account", self.account)
            .with("user", self.user.clone())
            .with("active", self.active)
            .with("created_nanos", self.created_nanos)
    }
}

impl Described for ManagedPolicy {
    fn fields(&self) -> Description {
        Description::new()
            .with("name", self.name.clone())
            .with("id", self.id.clone())
            .with("created_nanos", self.created_nanos)
            .with("changed_nanos", self.changed_nanos)
            .with("uses", self.uses)
            .with_bytes("document", self.document.as_bytes())
    }
}

impl Described for InlinePolicy {
    fn fields(&self) -> Description {
        Description::new()
            .with("name", self.name.clone())
            .with_bytes("document", self.document.as_bytes())
    }
}

impl Described for Role {
    fn fields(&self) -> Description {
        Description::new()
            .with("name", self.name.clone())
            .with("id", self.id.clone())
            .with("path", self.path.clone())
            .with("account", self.account)
            .with("created_nanos", self.created_nanos)
            .with("max_session_seconds", self.max_session_seconds)
            .with_bytes("description", self.description.as_bytes())
            .with_bytes("trust_policy", self.trust_policy.as_bytes())
            .with("attached", policy_names(&self.attached))
            .with("boundary", policy_names(self.boundary.as_slice()))
    }
}

/// Without the secret.
impl Described for SessionKey {
    fn fields(&self) -> Description {
        Description::new()
            .with("number", self.number)
            .with("created_nanos", self.created_nanos)
    }
}
