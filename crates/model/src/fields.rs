//! Fields of a JSON configuration, read with their types, defaults and bounds; errors name the field.

use serde_json::{Map, Value};

use crate::ConfigError;

pub(crate) fn bad(field: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::Field { field: field.into(), problem: problem.into() }
}

pub(crate) fn id_of(field: &str, value: &Value) -> Result<u32, ConfigError> {
    value
        .as_u64()
        .and_then(|id| u32::try_from(id).ok())
        .ok_or_else(|| bad(field, format!("{value} is not a token id")))
}

/// Lookup through two objects, the first before the second; `null` counts as absent.
pub(crate) struct Fields<'a> {
    pub maps: [Option<&'a Map<String, Value>>; 2],
    pub prefix: &'static str,
}

impl<'a> Fields<'a> {
    /// No dimension of any released or plausible model comes near; products of a few of them still fit in 64 bits.
    const MAX_SIZE: u64 = 1 << 24;

    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.maps.iter().flatten().filter_map(|map| map.get(key)).find(|value| !value.is_null())
    }

    fn bad(&self, key: &str, value: &Value, want: &str) -> ConfigError {
        bad(format!("{}{key}", self.prefix), format!("{value} is not {want}"))
    }

    pub fn size(&self, key: &str, default: usize) -> Result<usize, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        match value.as_u64() {
            Some(n @ 1..=Self::MAX_SIZE) => Ok(n as usize),
            _ => Err(self.bad(key, value, "a whole number between 1 and 16,777,216")),
        }
    }

    /// A number of layers: bounded more tightly, since a list of tensor names is made from it.
    pub fn layers(&self, key: &str, default: usize) -> Result<usize, ConfigError> {
        let layers = self.size(key, default)?;
        if layers > 1024 {
            return Err(bad(format!("{}{key}", self.prefix), format!("{layers} is more than 1,024")));
        }
        Ok(layers)
    }

    pub fn is_null(&self, key: &str) -> bool {
        self.get(key).is_none() && self.maps.iter().flatten().any(|map| map.contains_key(key))
    }

    pub fn sizes(&self, key: &str, default: &[usize]) -> Result<Vec<usize>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(default.to_vec());
        };
        let items = value.as_array().ok_or_else(|| self.bad(key, value, "a list of whole numbers"))?;
        let size = |item: &Value| item.as_u64().filter(|&n| n <= Self::MAX_SIZE).map(|n| n as usize);
        items
            .iter()
            .map(|item| size(item).ok_or_else(|| self.bad(key, value, "a list of whole numbers")))
            .collect()
    }

    pub fn positive(&self, key: &str, default: f64) -> Result<f64, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let number = value.as_f64().filter(|x| x.is_finite() && *x > 0.0);
        number.ok_or_else(|| self.bad(key, value, "a positive number"))
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value.as_bool().ok_or_else(|| self.bad(key, value, "true or false"))
    }

    pub fn id(&self, key: &str, default: u32) -> Result<u32, ConfigError> {
        self.get(key).map_or(Ok(default), |value| id_of(key, value))
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value.as_str().map(Some).ok_or_else(|| self.bad(key, value, "a string"))
    }

    pub fn object(&self, key: &str) -> Result<Option<&'a Map<String, Value>>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value.as_object().map(Some).ok_or_else(|| self.bad(key, value, "an object"))
    }
}
