//! The values of one sample, by signal. A sorted list: a sample has some dozens of signals at most,
//! every sample makes and copies a few such lists, and what is done most is to walk along them.

use std::{
    borrow::Borrow,
    collections::BTreeMap,
    fmt,
    ops::{Deref, Index},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A signal's name, which every sample repeats: shared, not copied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Present signals with their values, in the order of their names, each once. A signal that is not
/// here is missing.
#[derive(Clone, Default, PartialEq)]
pub struct Values(Vec<(Name, f64)>);

impl Values {
    /// Nothing yet, with room for so many.
    pub fn with_capacity(count: usize) -> Values {
        Values(Vec::with_capacity(count))
    }

    /// The value of a signal.
    pub fn get(&self, name: &str) -> Option<&f64> {
        self.place(name).ok().map(|index| &self.0[index].1)
    }

    /// Whether a signal is there.
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Adds the value of a signal whose name comes after all that are here: what a walk along
    /// signals gives.
    pub fn push(&mut self, name: Name, value: f64) {
        debug_assert!(self.0.last().is_none_or(|(last, _)| *last < name), "{name} in its order");
        self.0.push((name, value));
    }

    /// Sets the value of a signal.
    pub fn insert(&mut self, name: impl Into<Name>, value: f64) {
        let name = name.into();
        if self.0.last().is_none_or(|(last, _)| *last < name) {
            self.0.push((name, value));
            return;
        }
        match self.place(&name) {
            Ok(index) => self.0[index].1 = value,
            Err(index) => self.0.insert(index, (name, value)),
        }
    }

    /// Takes a signal out, and gives the value that it had.
    pub fn remove(&mut self, name: &str) -> Option<f64> {
        self.place(name).ok().map(|index| self.0.remove(index).1)
    }

    /// Keeps what `keeps` says.
    pub fn retain(&mut self, mut keeps: impl FnMut(&Name, f64) -> bool) {
        self.0.retain(|(name, value)| keeps(name, *value));
    }

    /// Signals with their values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &f64)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().map(|(name, _)| name)
    }

    /// How many signals there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| (**other).cmp(name))
    }
}

impl Name {
    /// Whether this is the same name and not only an equal one: told without looking at the text.
    pub fn is(&self, other: &Name) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

// Names hash, compare and are ordered as their texts are.
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        Name(text.into())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Name {
        Name(text.into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        String::deserialize(deserializer).map(Name::from)
    }
}

impl Index<&str> for Values {
    type Output = f64;

    fn index(&self, name: &str) -> &f64 {
        self.get(name).unwrap_or_else(|| panic!("there is no value of {name}"))
    }
}

impl<N: Into<Name>> Extend<(N, f64)> for Values {
    fn extend<I: IntoIterator<Item = (N, f64)>>(&mut self, others: I) {
        others.into_iter().for_each(|(name, value)| self.insert(name, value));
    }
}

impl<N: Into<Name>> FromIterator<(N, f64)> for Values {
    fn from_iter<I: IntoIterator<Item = (N, f64)>>(iterator: I) -> Values {
        let mut values = Values::default();
        values.extend(iterator);
        values
    }
}

impl<N: Into<Name>> From<BTreeMap<N, f64>> for Values {
    fn from(values: BTreeMap<N, f64>) -> Values {
        values.into_iter().collect()
    }
}

impl<N: Into<Name>, const COUNT: usize> From<[(N, f64); COUNT]> for Values {
    fn from(values: [(N, f64); COUNT]) -> Values {
        values.into_iter().collect()
    }
}

impl IntoIterator for Values {
    type Item = (Name, f64);
    type IntoIter = std::vec::IntoIter<(Name, f64)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Values {
    type Item = &'a (Name, f64);
    type IntoIter = std::slice::Iter<'a, (Name, f64)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Values, D::Error> {
        BTreeMap::<Name, f64>::deserialize(deserializer).map(Values::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_sorted_and_each_signal_is_there_once() {
        let mut values = Values::from([("b", 2.0), ("c", 3.0), ("a", 1.0), ("b", 4.0)]);
        assert_eq!(format!("{values:?}"), r#"{"a": 1.0, "b": 4.0, "c": 3.0}"#);
        values.extend([("aa".to_owned(), 5.0)]);
        values.retain(|name, value| &**name != "c" && value < 5.0);
        let kept: Vec<&str> = values.keys().map(|name| &**name).collect();
        assert_eq!(kept, ["a", "b"]);
        assert_eq!((values.get("b"), values.get("aa")), (Some(&4.0), None));
        assert_eq!((values.clone().remove("b"), values.clone().remove("c")), (Some(4.0), None));
        assert!(values.contains_key("a") && !values.contains_key("c") && values.len() == 2);
    }

    #[test]
    fn values_are_stored_as_a_map() {
        let values = Values::from([("b", 0.1), ("a", 1e300)]);
        let text = serde_json::to_string(&values).unwrap();
        assert_eq!(text, r#"{"a":1e+300,"b":0.1}"#);
        assert_eq!(serde_json::from_str::<Values>(&text).unwrap(), values);
    }
}
