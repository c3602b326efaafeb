//! Task classes and their shares of a core.
//!
//! Invariant: while two classes are ready, the time each gets is in proportion to its weight; a class that is
//! alone gets everything, and none ever starves.

/// What a task works for. The class decides its share of the core when both are ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TaskClass {
    /// Work that a client waits for.
    Foreground,
    /// Work that nobody waits for: giving space back, looking for orphans, keeping segments ready.
    Background,
}

impl TaskClass {
    /// Every class, in the order of [`TaskClass::index`].
    pub const ALL: [TaskClass; 2] = [TaskClass::Foreground, TaskClass::Background];

    /// Position in tables that hold one entry per class.
    pub const fn index(self) -> usize {
        match self {
            TaskClass::Foreground => 0,
            TaskClass::Background => 1,
        }
    }

    /// The share of the core, relative to the other classes that are ready.
    pub const fn weight(self) -> u64 {
        match self {
            TaskClass::Foreground => 8,
            TaskClass::Background => 1,
        }
    }

    /// The name that metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            TaskClass::Foreground => "foreground",
            TaskClass::Background => "background",
        }
    }
}

pub(super) const CLASS_COUNT: usize = TaskClass::ALL.len();

/// Weighted fair choice between classes by the time they have used.
///
/// Each class has a virtual time that grows with the time it ran divided by its weight; the ready class with the
/// least is next. A class that comes back from idleness starts at the virtual time of the last choice, so that
/// sleeping earns no credit.
#[derive(Default)]
pub(super) struct Shares {
    virtual_time: [u64; CLASS_COUNT],
    last_choice: u64,
    was_ready: [bool; CLASS_COUNT],
}

/// Scales virtual time so that the division by a weight keeps precision.
const SCALE: u64 = 64;

impl Shares {
    /// The class whose turn it is among those that are ready, `None` when none is.
    pub(super) fn choose(&mut self, ready: [bool; CLASS_COUNT]) -> Option<TaskClass> {
        let mut best: Option<TaskClass> = None;
        for class in TaskClass::ALL {
            let index = class.index();
            if ready[index] && !self.was_ready[index] {
                self.virtual_time[index] = self.virtual_time[index].max(self.last_choice);
            }
            self.was_ready[index] = ready[index];
            if !ready[index] {
                continue;
            }
            if best.is_none_or(|other| self.virtual_time[index] < self.virtual_time[other.index()])
            {
                best = Some(class);
            }
        }
        if let Some(class) = best {
            self.last_choice = self.virtual_time[class.index()];
        }
        best
    }

    /// Charges a turn of `nanoseconds` to the class.
    pub(super) fn charge(&mut self, class: TaskClass, nanoseconds: u64) {
        self.virtual_time[class.index()] += nanoseconds.max(1) * SCALE / class.weight();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ready_classes_share_by_weight() {
        let mut shares = Shares::default();
        let mut time = [0u64; CLASS_COUNT];
        for _ in 0..9_000 {
            let class = shares.choose([true, true]).expect("both are ready");
            let turn = if class == TaskClass::Background {
                200
            } else {
                10
            };
            time[class.index()] += turn;
            shares.charge(class, turn);
        }
        let ratio = time[0] as f64 / time[1] as f64;
        assert!(
            (7.0..9.0).contains(&ratio),
            "foreground to background is {ratio}"
        );
    }

    #[test]
    fn idleness_earns_no_credit() {
        let mut shares = Shares::default();
        for _ in 0..1_000 {
            assert_eq!(shares.choose([true, false]), Some(TaskClass::Foreground));
            shares.charge(TaskClass::Foreground, 1_000);
        }
        let mut background = 0;
        for _ in 0..90 {
            let class = shares.choose([true, true]).expect("both are ready");
            background += usize::from(class == TaskClass::Background);
            shares.charge(class, 1_000);
        }
        assert!((8..=12).contains(&background), "{background} of 90 turns");
    }
}
