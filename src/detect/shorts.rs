//! Rows of numbers in sixteen bits each, as multiples of a unit that they share: a profile's means
//! and curve are most of a detector's memory, and none is known to more than three digits. Knows
//! nothing of what the numbers are.

use serde::{Deserialize, Serialize};

/// The largest multiple.
const MULTIPLE_MAX: f64 = i16::MAX as f64;

/// A row of numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "(f64, Box<[i16]>)", from = "(f64, Box<[i16]>)")]
pub struct Shorts {
    /// A power of two, so that making it coarser is exact but for the last bit.
    unit: f64,
    multiples: Box<[i16]>,
}

impl From<Shorts> for (f64, Box<[i16]>) {
    fn from(row: Shorts) -> (f64, Box<[i16]>) {
        (row.unit, row.multiples)
    }
}

impl From<(f64, Box<[i16]>)> for Shorts {
    fn from((unit, multiples): (f64, Box<[i16]>)) -> Shorts {
        Shorts { unit, multiples }
    }
}

impl Shorts {
    /// A row of zeros.
    pub fn zeros(count: usize) -> Shorts {
        Shorts { unit: f64::MIN_POSITIVE, multiples: vec![0; count].into() }
    }

    /// These numbers, as coarse as the largest one asks for.
    pub fn of(numbers: &[f64]) -> Shorts {
        let largest = numbers.iter().fold(0.0_f64, |largest, number| largest.max(number.abs()));
        let unit = unit_for(largest);
        let multiples = numbers.iter().map(|number| (number / unit).round() as i16).collect();
        Shorts { unit, multiples }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.multiples.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.multiples.is_empty()
    }

    /// The number in this place; zero where there is none.
    pub fn get(&self, index: usize) -> f64 {
        self.multiples.get(index).map_or(0.0, |multiple| f64::from(*multiple) * self.unit)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = f64> {
        self.multiples.iter().map(|multiple| f64::from(*multiple) * self.unit)
    }

    /// Puts a number in its place. One that is too large makes all of them coarser.
    pub fn set(&mut self, index: usize, number: f64) {
        let unit = unit_for(number.abs());
        if self.unit < unit {
            let ratio = self.unit / unit;
            for multiple in &mut self.multiples {
                *multiple = (f64::from(*multiple) * ratio).round() as i16;
            }
            self.unit = unit;
        }
        self.multiples[index] = (number / self.unit).round() as i16;
    }
}

/// The least unit of which a number of this size is a multiple that can be kept.
fn unit_for(size: f64) -> f64 {
    let unit = power_of_two(size / MULTIPLE_MAX);
    if unit * MULTIPLE_MAX < size { 2.0 * unit } else { unit }
}

/// The power of two below a number, by clearing its fraction; the least one for zero.
fn power_of_two(number: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    f64::from_bits(number.max(f64::MIN_POSITIVE).to_bits() & !FRACTION)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn numbers_come_back_to_half_a_unit_of_the_largest(
            numbers in prop::collection::vec(-1e6..1e6f64, 1..40),
            exponent in -60..60i32,
        ) {
            let scale = 10f64.powi(exponent);
            let numbers: Vec<f64> = numbers.iter().map(|number| number * scale).collect();
            let largest = numbers.iter().fold(0.0_f64, |largest, number| largest.max(number.abs()));
            // Below half a unit when kept, and again when made coarser, twice at most as fine.
            let error = 2.0 * largest / MULTIPLE_MAX;
            let kept = Shorts::of(&numbers);
            let mut set = Shorts::zeros(numbers.len());
            for (index, number) in numbers.iter().enumerate() {
                set.set(index, *number);
            }
            for (index, number) in numbers.iter().enumerate() {
                let (kept, set) = (kept.get(index), set.get(index));
                prop_assert!((kept - number).abs() <= 0.5 * error, "{} {}", kept, number);
                prop_assert!((set - number).abs() <= error, "{} {}", set, number);
            }
        }
    }

    #[test]
    fn a_large_number_makes_the_others_coarser() {
        let mut row = Shorts::zeros(3);
        row.set(0, 0.25);
        row.set(1, 40_000.0);
        assert_eq!(row.iter().collect::<Vec<_>>(), [0.0, 40_000.0, 0.0]);
        assert_eq!((row.len(), row.get(7), row.is_empty()), (3, 0.0, false));
        assert_eq!(Shorts::of(&[0.0]).get(0), 0.0);
    }
}
