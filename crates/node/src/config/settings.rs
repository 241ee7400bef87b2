//! The layers of a configuration: what was set where, and which value won.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use toml::{Table, Value};

use super::{Config, ConfigError, Origin};

/// The file of the defaults, comments and all.
pub const DEFAULTS: &str = include_str!("../../../../config/rangekeeper.toml");

/// What the names of our environment variables begin with.
const ENVIRONMENT_PREFIX: &str = "RANGEKEEPER_";

/// Where a configuration is read from, weakest layer first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// The environment. `RANGEKEEPER_<SECTION>__<KEY>` sets a key, all else is passed over.
    pub environment: Vec<(String, String)>,
    /// `section.key=value`.
    pub set: Vec<String>,
    /// Options of the command line that stand for a key: the key, its value, the option.
    pub options: Vec<(&'static str, String, &'static str)>,
}

/// The value of one key and where it came from.
#[derive(Clone, Debug)]
struct Setting {
    value: Value,
    origin: Origin,
}

/// All keys with the values that won.
#[derive(Clone, Debug)]
pub struct Settings {
    values: BTreeMap<String, Setting>,
}

impl Settings {
    /// Reads all sources and lays them over the defaults. Unknown keys are refused; whether the
    /// values are good is found out by [`Settings::config`].
    pub fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let defaults: Table = DEFAULTS.parse().expect("the defaults are TOML");
        let mut settings = Self { values: BTreeMap::new() };
        for (key, value) in flatten(&defaults) {
            settings.values.insert(key, Setting { value, origin: Origin::Default });
        }
        if let Some(path) = &sources.file {
            let text = fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
            let table: Table = text.parse().map_err(|error: toml::de::Error| {
                ConfigError::Syntax { path: path.clone(), message: error.to_string() }
            })?;
            for (key, value) in flatten(&table) {
                settings.set(key, value, Origin::File(path.clone()))?;
            }
        }
        for (name, text) in &sources.environment {
            let Some(key) = settings.environment_key(name)? else { continue };
            settings.set_text(key, text, Origin::Environment(name.clone()))?;
        }
        for assignment in &sources.set {
            let (key, text) = assignment
                .split_once('=')
                .ok_or_else(|| ConfigError::Assignment { text: assignment.clone() })?;
            settings.set_text(key.trim().to_owned(), text.trim(), Origin::Set)?;
        }
        for (key, text, option) in &sources.options {
            settings.set_text((*key).to_owned(), text, Origin::Option(option))?;
        }
        Ok(settings)
    }

    /// The key that an environment variable sets, if it is one of ours. One that begins as a key's
    /// does and lacks the second underscore is refused: passed over, it would be believed in.
    fn environment_key(&self, name: &str) -> Result<Option<String>, ConfigError> {
        let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { return Ok(None) };
        if let Some((section, key)) = rest.split_once("__") {
            let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
            return Ok(Some(format!("{section}.{key}")));
        }
        let rest = rest.to_ascii_lowercase();
        let is_of_section = |key: &&String| {
            key.split_once('.').is_some_and(|(section, _)| {
                rest.strip_prefix(section).is_some_and(|rest| rest.starts_with('_'))
            })
        };
        let Some((section, _)) =
            self.values.keys().find(is_of_section).and_then(|key| key.split_once('.'))
        else {
            return Ok(None);
        };
        let meant = rest.replacen(&format!("{section}_"), &format!("{section}__"), 1);
        Err(ConfigError::UnknownKey {
            key: rest.clone(),
            origin: Origin::Environment(name.to_owned()),
            hint: format!(
                "; two underscores part section and key: {ENVIRONMENT_PREFIX}{}",
                meant.to_ascii_uppercase()
            ),
        })
    }

    /// The configuration that the settings make, if all values are good and fit each other.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut table = Table::new();
        for (key, setting) in &self.values {
            let (section, key) = key.split_once('.').expect("keys are section.key");
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            let section = section.as_table_mut().expect("sections are tables");
            section.insert(key.to_owned(), setting.value.clone());
        }
        let config: Config = serde_path_to_error::deserialize(table).map_err(|error| {
            let key = error.path().to_string();
            self.refused(&key, error.inner().message().to_owned())
        })?;
        config.check().map_err(|(key, reason)| self.refused(key, reason))?;
        Ok(config)
    }

    /// The effective configuration as TOML, in the order of the file of the defaults; what is not a
    /// default says where it came from.
    pub fn print(&self) -> String {
        let mut out = String::new();
        let mut last_section = String::new();
        for key in keys() {
            let setting = &self.values[&key];
            let (section, name) = key.split_once('.').expect("keys are section.key");
            if section != last_section {
                let gap = if last_section.is_empty() { "" } else { "\n" };
                writeln!(out, "{gap}[{section}]").expect("a string takes all");
                section.clone_into(&mut last_section);
            }
            let from = match &setting.origin {
                Origin::Default => String::new(),
                other => format!("  # from {other}"),
            };
            writeln!(out, "{name} = {}{from}", setting.value).expect("a string takes all");
        }
        out
    }

    /// All keys with their defaults, one a line: a contract with everybody who has a configuration.
    pub fn contract() -> String {
        let settings = Self::read(&Sources::default()).expect("the defaults are in order");
        let mut out = String::new();
        for key in keys() {
            writeln!(out, "{key} = {}", settings.values[&key].value).expect("a string takes all");
        }
        out
    }

    fn set_text(&mut self, key: String, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let value = match self.values.get(&key).map(|setting| &setting.value) {
            Some(Value::Integer(_)) => text.parse().map(Value::Integer).ok(),
            Some(Value::Boolean(_)) => text.parse().map(Value::Boolean).ok(),
            Some(Value::Array(_)) => Some(listed(text)),
            _ => None,
        };
        self.set(key, value.unwrap_or_else(|| Value::String(text.to_owned())), origin)
    }

    fn set(&mut self, key: String, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let Some(setting) = self.values.get_mut(&key) else {
            let hint = self.hint(&key);
            return Err(ConfigError::UnknownKey { key, origin, hint });
        };
        *setting = Setting { value, origin };
        Ok(())
    }

    /// Names the keys that a wrong key may have meant: the same name elsewhere, else all of its
    /// section, else the sections.
    fn hint(&self, wrong: &str) -> String {
        let (section, name) = wrong.split_once('.').unwrap_or(("", wrong));
        let ends = format!(".{name}");
        let begins = format!("{section}.");
        let namesakes: Vec<_> = self.values.keys().filter(|key| key.ends_with(&ends)).collect();
        let siblings: Vec<_> = self.values.keys().filter(|key| key.starts_with(&begins)).collect();
        let listed =
            |keys: Vec<&String>| keys.iter().map(|key| key.as_str()).collect::<Vec<_>>().join(", ");
        if !namesakes.is_empty() {
            format!("; did you mean {}?", listed(namesakes))
        } else if !siblings.is_empty() {
            format!("; there are {}", listed(siblings))
        } else {
            let mut sections: Vec<_> =
                self.values.keys().filter_map(|key| Some(key.split_once('.')?.0)).collect();
            sections.dedup();
            format!("; the sections are {}", sections.join(", "))
        }
    }

    fn refused(&self, key: &str, reason: String) -> ConfigError {
        let setting = self.values.get(key);
        ConfigError::Value {
            key: key.to_owned(),
            value: setting.map_or_else(String::new, |setting| setting.value.to_string()),
            origin: setting.map_or(Origin::Default, |setting| setting.origin.clone()),
            reason,
        }
    }
}

/// A list as people write it outside of a file: `a,b`.
fn listed(text: &str) -> Value {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
}

/// All keys, `section.key`, in the order of the file of the defaults.
fn keys() -> Vec<String> {
    let mut keys = Vec::new();
    let mut section = "";
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((name, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            keys.push(format!("{section}.{name}"));
        }
    }
    keys
}

/// The values of a table by the paths of their keys. A value that stands where a section should is
/// given under the section's name, which is no key.
fn flatten(table: &Table) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (section, content) in table {
        match content {
            Value::Table(content) => {
                let keys = content.iter();
                flat.extend(keys.map(|(key, value)| (format!("{section}.{key}"), value.clone())));
            }
            other => flat.push((section.clone(), other.clone())),
        }
    }
    flat
}
