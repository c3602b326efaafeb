//! Payloads of `S` and `R` rows.

use rkyv::rancor;
use rkyv::util::AlignedVec;

use super::{
    AllocationEpoch, BucketUsage, ClusterIdentity, DeviceCondition, DeviceErrors, DeviceState,
    Geometry, GeometryCode, GroupState, Layout, LayoutKind, LogPosition, PlacementGroup, RootKey,
    Session, Slot, SlotState, Writer,
};
use crate::namespace::DEVICE_REASON_BYTES_MAX;
use crate::namespace::command::Answer;
use crate::namespace::value::{Damage, FieldWriter, Fields, Row};

impl Row for LogPosition {
    fn write(&self, fields: &mut FieldWriter) {
        for field in [self.term, self.node, self.index] {
            fields.u64(field);
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<LogPosition, Damage> {
        Ok(LogPosition {
            term: fields.u64()?,
            node: fields.u64()?,
            index: fields.u64()?,
        })
    }
}

/// The membership that is in force; its bytes are the group's affair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MembershipRow {
    pub position: LogPosition,
    pub bytes: Vec<u8>,
}

impl Row for MembershipRow {
    fn write(&self, fields: &mut FieldWriter) {
        self.position.write(fields);
        fields.raw(&self.bytes);
    }

    fn read(fields: &mut Fields<'_>) -> Result<MembershipRow, Damage> {
        let position = LogPosition::read(fields)?;
        Ok(MembershipRow {
            position,
            bytes: fields.rest().to_vec(),
        })
    }
}

impl Row for GroupState {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u16(self.group);
        fields.u16(self.feature_level);
        fields.u32(self.next_writer);
        fields.i64(self.time_nanos);
        for field in [self.commit_sequence, self.next_inode, self.next_session] {
            fields.u64(field);
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<GroupState, Damage> {
        Ok(GroupState {
            group: fields.u16()?,
            feature_level: fields.u16()?,
            next_writer: fields.u32()?,
            time_nanos: fields.i64()?,
            commit_sequence: fields.u64()?,
            next_inode: fields.u64()?,
            next_session: fields.u64()?,
        })
    }
}

impl Row for BucketUsage {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u64(self.objects);
        fields.u64(self.bytes);
    }

    fn read(fields: &mut Fields<'_>) -> Result<BucketUsage, Damage> {
        Ok(BucketUsage {
            objects: fields.u64()?,
            bytes: fields.u64()?,
        })
    }
}

impl Row for ClusterIdentity {
    fn write(&self, fields: &mut FieldWriter) {
        fields.raw(&self.cluster);
        fields.u32(self.incarnation);
        fields.i64(self.created_nanos);
    }

    fn read(fields: &mut Fields<'_>) -> Result<ClusterIdentity, Damage> {
        Ok(ClusterIdentity {
            cluster: fields.array()?,
            incarnation: fields.u32()?,
            created_nanos: fields.i64()?,
        })
    }
}

impl Row for Layout {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u8(match self.kind {
            LayoutKind::Single => 1,
            LayoutKind::Mirrored => 2,
            LayoutKind::ErasureCoded => 3,
        });
        fields.u8(self.k);
        fields.u8(self.m);
        fields.zeros(1);
        fields.u16(self.geometry);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Layout, Damage> {
        let kind = match fields.u8()? {
            1 => LayoutKind::Single,
            2 => LayoutKind::Mirrored,
            3 => LayoutKind::ErasureCoded,
            _ => return Err(Damage("unknown layout")),
        };
        let (k, m) = (fields.u8()?, fields.u8()?);
        fields.zeros(1)?;
        Ok(Layout {
            kind,
            k,
            m,
            geometry: fields.u16()?,
        })
    }
}

impl Row for RootKey {
    fn write(&self, fields: &mut FieldWriter) {
        fields.bytes(self.access_key_id.as_bytes());
        fields.bytes(self.secret_access_key.as_bytes());
    }

    fn read(fields: &mut Fields<'_>) -> Result<RootKey, Damage> {
        Ok(RootKey {
            access_key_id: fields.string()?,
            secret_access_key: fields.string()?,
        })
    }
}

impl Row for Geometry {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u16(self.number);
        fields.u8(match self.code {
            GeometryCode::Copies => 1,
            GeometryCode::CauchyGf8 => 2,
        });
        fields.u8(self.k);
        fields.u8(self.m);
        fields.zeros(3);
        fields.u32(self.cell_bytes);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Geometry, Damage> {
        let number = fields.u16()?;
        let code = match fields.u8()? {
            1 => GeometryCode::Copies,
            2 => GeometryCode::CauchyGf8,
            _ => return Err(Damage("unknown code")),
        };
        let (k, m) = (fields.u8()?, fields.u8()?);
        fields.zeros(3)?;
        Ok(Geometry {
            number,
            code,
            k,
            m,
            cell_bytes: fields.u32()?,
        })
    }
}

impl Row for PlacementGroup {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u32(self.number);
        fields.u32(self.epoch);
        fields.raw(&self.pool);
        write_slots(fields, &self.slots);
        write_slots(fields, &self.previous);
    }

    fn read(fields: &mut Fields<'_>) -> Result<PlacementGroup, Damage> {
        Ok(PlacementGroup {
            number: fields.u32()?,
            epoch: fields.u32()?,
            pool: fields.array()?,
            slots: read_slots(fields)?,
            previous: read_slots(fields)?,
        })
    }
}

fn write_slots(fields: &mut FieldWriter, slots: &[Slot]) {
    assert!(slots.len() <= 64, "a slot mask has 64 bits");
    fields.u16(slots.len() as u16);
    for slot in slots {
        fields.raw(&slot.device);
        fields.u16(slot.partition);
        fields.u8(match slot.state {
            SlotState::Member => 1,
            SlotState::Removed => 2,
            SlotState::Joining => 3,
        });
        fields.zeros(1);
    }
}

fn read_slots(fields: &mut Fields<'_>) -> Result<Vec<Slot>, Damage> {
    let count = fields.u16()?;
    (0..count)
        .map(|_| {
            let (device, partition) = (fields.array()?, fields.u16()?);
            let state = match fields.u8()? {
                1 => SlotState::Member,
                2 => SlotState::Removed,
                3 => SlotState::Joining,
                _ => return Err(Damage("unknown state of a slot")),
            };
            fields.zeros(1)?;
            Ok(Slot {
                device,
                partition,
                state,
            })
        })
        .collect()
}

impl Row for DeviceCondition {
    fn write(&self, fields: &mut FieldWriter) {
        fields.raw(&self.device);
        fields.u8(match self.state {
            DeviceState::Healthy => 1,
            DeviceState::Slow => 2,
            DeviceState::Full => 3,
            DeviceState::Draining => 4,
            DeviceState::ReadOnly => 5,
            DeviceState::Failing => 6,
            DeviceState::Gone => 7,
        });
        fields.zeros(7);
        fields.i64(self.since_nanos);
        fields.u64(self.capacity_bytes);
        let DeviceErrors {
            reads,
            writes,
            checksums,
        } = self.errors;
        for field in [reads, writes, checksums] {
            fields.u64(field);
        }
        fields.bytes(self.reason.as_bytes());
    }

    fn read(fields: &mut Fields<'_>) -> Result<DeviceCondition, Damage> {
        let device = fields.array()?;
        let state = match fields.u8()? {
            1 => DeviceState::Healthy,
            2 => DeviceState::Slow,
            3 => DeviceState::Full,
            4 => DeviceState::Draining,
            5 => DeviceState::ReadOnly,
            6 => DeviceState::Failing,
            7 => DeviceState::Gone,
            _ => return Err(Damage("unknown state of a device")),
        };
        fields.zeros(7)?;
        let (since_nanos, capacity_bytes) = (fields.i64()?, fields.u64()?);
        let errors = DeviceErrors {
            reads: fields.u64()?,
            writes: fields.u64()?,
            checksums: fields.u64()?,
        };
        let reason = fields.string()?;
        if reason.len() > DEVICE_REASON_BYTES_MAX {
            return Err(Damage("a reason that is too long"));
        }
        Ok(DeviceCondition {
            device,
            state,
            reason,
            since_nanos,
            capacity_bytes,
            errors,
        })
    }
}

impl Row for Writer {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u32(self.number);
        fields.u32(self.reactor);
        fields.u64(self.node);
        fields.i64(self.registered_nanos);
        fields.u32(self.last_epoch);
        fields.u8(u8::from(self.open));
        fields.zeros(3);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Writer, Damage> {
        let (number, reactor) = (fields.u32()?, fields.u32()?);
        let (node, registered_nanos) = (fields.u64()?, fields.i64()?);
        let last_epoch = fields.u32()?;
        let open = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Damage("a mark of an open writer that is neither 0 nor 1")),
        };
        fields.zeros(3)?;
        Ok(Writer {
            number,
            node,
            reactor,
            registered_nanos,
            last_epoch,
            open,
        })
    }
}

impl Row for AllocationEpoch {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u32(self.writer);
        fields.u32(self.epoch);
        fields.i64(self.opened_nanos);
    }

    fn read(fields: &mut Fields<'_>) -> Result<AllocationEpoch, Damage> {
        let (writer, epoch, opened_nanos) = (fields.u32()?, fields.u32()?, fields.i64()?);
        Ok(AllocationEpoch {
            writer,
            epoch,
            opened_nanos,
        })
    }
}

impl Row for Session {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u64(self.owner);
        fields.i64(self.opened_nanos);
        fields.u64(self.lowest_unanswered);
        fields.u32(self.outstanding);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Session, Damage> {
        Ok(Session {
            owner: fields.u64()?,
            opened_nanos: fields.i64()?,
            lowest_unanswered: fields.u64()?,
            outstanding: fields.u32()?,
        })
    }
}

/// An answer, in the archived form of [`Answer`]. An archive has its root at its end, so that a changed `Answer` cannot be told
/// from the old one: it comes with a new version of this row, which keeps the old type to read the old rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerRow(pub Answer);

impl Row for AnswerRow {
    fn write(&self, fields: &mut FieldWriter) {
        let archive = rkyv::to_bytes::<rancor::Error>(&self.0);
        fields.raw(&archive.expect("an answer is bounded and fits an archive"));
    }

    fn read(fields: &mut Fields<'_>) -> Result<AnswerRow, Damage> {
        let version = fields.version();
        let mut archive = AlignedVec::<16>::new();
        archive.extend_from_slice(fields.rest());
        let answer = match version {
            1 => rkyv::from_bytes::<Answer, rancor::Error>(&archive),
            _ => return Err(Damage("unknown version")),
        };
        answer
            .map(AnswerRow)
            .map_err(|_| Damage("no archive of an answer"))
    }
}
