//! Some members of a fleet, by their index: one bit for each.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(u64);

impl Set {
    pub(super) const MOST_MEMBERS: usize = 64;
    pub(super) const NONE: Self = Self(0);

    fn bit(index: usize) -> u64 {
        u32::try_from(index)
            .ok()
            .and_then(|index| 1_u64.checked_shl(index))
            .unwrap_or(0)
    }

    pub(super) fn of(index: usize) -> Self {
        Self(Self::bit(index))
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(super) fn has(self, index: usize) -> bool {
        self.0 & Self::bit(index) != 0
    }

    pub(super) fn insert(&mut self, index: usize) {
        self.0 |= Self::bit(index);
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}
