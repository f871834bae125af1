//! The order of changes of mind: (epoch, generation), which never goes down on a node (I5).

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number that is no generation or epoch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Generations count from 1 and stay exact in every JSON reader.
    #[error("generation {0} is not valid: it must be between 1 and 2^53-1")]
    Generation(u64),
    /// Epochs count from 1 and have four digits in keys.
    #[error("epoch {0} is not valid: it must be between 1 and 9999")]
    Epoch(u32),
}

/// Counts the triggers of one cell, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(try_from = "u64", into = "u64")]
pub struct Generation(NonZeroU64);

impl Generation {
    /// 2^53-1: above it JSON readers that use doubles would round.
    pub const MAX: u64 = (1 << 53) - 1;

    /// The first trigger of a cell.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// `number` as a generation.
    ///
    /// # Errors
    /// When it is 0 or above [`Self::MAX`].
    pub fn new(number: u64) -> Result<Self, OrderError> {
        match NonZeroU64::new(number) {
            Some(inner) if number <= Self::MAX => Ok(Self(inner)),
            _ => Err(OrderError::Generation(number)),
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The generation after this one; `None` after the last.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::new(self.get() + 1).ok()
    }
}

impl TryFrom<u64> for Generation {
    type Error = OrderError;

    fn try_from(number: u64) -> Result<Self, OrderError> {
        Self::new(number)
    }
}

impl From<Generation> for u64 {
    fn from(generation: Generation) -> u64 {
        generation.get()
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Belongs to a pinned key: a key pinned with a higher epoch outranks everything that an older key signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(try_from = "u32", into = "u32")]
pub struct Epoch(u32);

impl Epoch {
    /// The epoch of a key that states none.
    pub const FIRST: Self = Self(1);

    /// `number` as an epoch.
    ///
    /// # Errors
    /// When it is 0 or has more than four digits.
    pub fn new(number: u32) -> Result<Self, OrderError> {
        if (1..=9999).contains(&number) { Ok(Self(number)) } else { Err(OrderError::Epoch(number)) }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for Epoch {
    fn default() -> Self {
        Self::FIRST
    }
}

impl TryFrom<u32> for Epoch {
    type Error = OrderError;

    fn try_from(number: u32) -> Result<Self, OrderError> {
        Self::new(number)
    }
}

impl From<Epoch> for u32 {
    fn from(epoch: Epoch) -> u32 {
        epoch.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a cell has come: compared by epoch first, then by generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Floor {
    /// The epoch of the key that signed.
    pub epoch: Epoch,
    /// The trigger's generation.
    pub generation: Generation,
}

impl Floor {
    /// The place of `generation` under a key of `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch, generation: Generation) -> Self {
        Self { epoch, generation }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch == Epoch::FIRST {
            self.generation.fmt(f)
        } else {
            write!(f, "{}-{}", self.epoch, self.generation)
        }
    }
}

impl FromStr for Floor {
    type Err = OrderError;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, OrderError> {
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        let (epoch, generation) = match text.split_once('-') {
            Some((epoch, generation)) => (Epoch::new(u32::try_from(number(epoch)).unwrap_or(0))?, generation),
            None => (Epoch::FIRST, text),
        };
        Ok(Self::new(epoch, Generation::new(number(generation))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_epoch_outranks_every_generation_of_a_lower_one() {
        let stolen = Floor::new(Epoch::FIRST, Generation::new(Generation::MAX).unwrap());
        let rotated = Floor::new(Epoch::new(2).unwrap(), Generation::FIRST);
        assert!(rotated > stolen);
        assert!(stolen.generation.next().is_none());
    }

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for (epoch, generation, text) in [(1, 7, "7"), (2, 7, "2-7")] {
            let floor = Floor::new(Epoch::new(epoch).unwrap(), Generation::new(generation).unwrap());
            assert_eq!((floor.to_string(), text.parse()), (text.to_owned(), Ok(floor)));
        }
        for bad in ["", "0", "-7", "2-", "0-7", "x", "1-2-3", "9007199254740992"] {
            assert!(bad.parse::<Floor>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_serde_too() {
        for bad in ["0", "9007199254740992", "-1", "1.5"] {
            assert!(serde_json::from_str::<Generation>(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Generation>("9007199254740991").is_ok());
        assert!(serde_json::from_str::<Epoch>("10000").is_err());
    }
}
