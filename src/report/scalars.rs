//! Times and numbers as the contract's JSON writes them, and reads them back.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::time_text;
use crate::series::Time;

/// A [`Time`] in the contract's spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant(pub Time);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time_text(self.0))
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        Time::deserialize(deserializer).map(Instant)
    }
}

/// A number in which whole values carry no `.0`, because counts are read by people too. What is not
/// finite has no JSON and becomes `null`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

/// Above this, not every whole number is a double, and digits would promise what is not known.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.0.is_finite() {
            serializer.serialize_none()
        } else if self.0.fract() == 0.0 && self.0.abs() < WHOLE_MAX {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        Ok(Number(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN)))
    }
}
