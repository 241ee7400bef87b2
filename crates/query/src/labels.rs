//! Questions about labels, series and metadata.

use rangekeeper_model::{Matcher, TimeRange};
use rangekeeper_storage::Found;

use crate::api::Asked;
use crate::data::Which;
use crate::error::QueryError;
use crate::render::{Envelope, append_labels, append_list, append_text};

/// Selectors, times and a limit.
type Restrictions = (Vec<Vec<Matcher>>, TimeRange, usize);

const TRUNCATED: &str = "results truncated due to limit";

impl Asked<'_> {
    pub(crate) fn series(&self) -> Result<Vec<u8>, QueryError> {
        if self.parameters.all("match[]").next().is_none() {
            return Err(QueryError::Invalid("no match[] parameter provided".to_owned()));
        }
        let (limit, range) = (self.parameters.limit()?, self.parameters.range()?);
        let selectors = self.parameters.selectors(&self.shared.parser);
        let selectors = selectors.map_err(|error| QueryError::parameter("match[]", &error))?;
        if range.is_empty() {
            return Ok(no_texts());
        }
        let stop = || self.is_over();
        let found = self.look(&stop).series(Which { selectors: &selectors, range, limit })?;
        let envelope = of(&found);
        Ok(envelope.render(|out| append_list(out, &found.items, append_labels)))
    }

    pub(crate) fn label_names(&self) -> Result<Vec<u8>, QueryError> {
        let Some((selectors, range, limit)) = self.restrictions()? else { return Ok(no_texts()) };
        let stop = || self.is_over();
        let found = self.look(&stop).label_names(Which { selectors: &selectors, range, limit })?;
        Ok(texts(&found))
    }

    pub(crate) fn label_values(&self, name: &str) -> Result<Vec<u8>, QueryError> {
        let name = unescape(name);
        if name.is_empty() {
            return Err(QueryError::Invalid("invalid label name: \"\"".to_owned()));
        }
        let Some((selectors, range, limit)) = self.restrictions()? else { return Ok(no_texts()) };
        let stop = || self.is_over();
        let which = Which { selectors: &selectors, range, limit };
        let found = self.look(&stop).label_values(&name, which)?;
        Ok(texts(&found))
    }

    /// What both questions about labels may say to narrow their answer; `None` if the end comes
    /// before the start, where there is nothing.
    fn restrictions(&self) -> Result<Option<Restrictions>, QueryError> {
        let (limit, range) = (self.parameters.limit()?, self.parameters.range()?);
        let selectors = self.parameters.selectors(&self.shared.parser);
        let selectors = selectors.map_err(|error| QueryError::Invalid(error.to_string()))?;
        Ok((!range.is_empty()).then_some((selectors, range, limit)))
    }

    pub(crate) fn metadata(&self) -> Result<Vec<u8>, QueryError> {
        // A negative number means all, and of those within a metric so does 0.
        let at_most = |count: i64| usize::try_from(count).ok();
        let limit = self.parameters.count("limit")?.and_then(at_most);
        let a_metric = self.parameters.count("limit_per_metric")?.and_then(at_most);
        let limit = limit.unwrap_or(usize::MAX);
        let a_metric = a_metric.filter(|count| *count > 0).unwrap_or(usize::MAX);
        let stop = || self.is_over();
        let rows = self.look(&stop).metadata(self.parameters.first("metric"))?;
        Ok(Envelope::default().render(|out| {
            out.push(b'{');
            for (index, row) in rows.iter().take(limit).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                append_text(out, &row.family);
                out.push(b':');
                let shown = &row.metadata[..row.metadata.len().min(a_metric)];
                append_list(out, shown, |out, said| {
                    out.extend_from_slice(b"{\"type\":");
                    append_text(out, said.metric_type.name());
                    out.extend_from_slice(b",\"help\":");
                    append_text(out, &said.help);
                    out.extend_from_slice(b",\"unit\":");
                    append_text(out, &said.unit);
                    out.push(b'}');
                });
            }
            out.push(b'}');
        }))
    }
}

fn of<T>(found: &Found<T>) -> Envelope {
    let warnings = if found.truncated { vec![TRUNCATED.to_owned()] } else { Vec::new() };
    Envelope { warnings, ..Envelope::default() }
}

fn no_texts() -> Vec<u8> {
    texts(&Found { items: Vec::new(), truncated: false })
}

fn texts(found: &Found<String>) -> Vec<u8> {
    of(found).render(|out| append_list(out, &found.items, |out, text| append_text(out, text)))
}

/// A label name as it stands in a path: `U__http_2e_status` means `http.status`. What is no such
/// escape is the name.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let code = rest.split_once('_').and_then(|(hex, after)| {
            let short = (1..=6).contains(&hex.len());
            let code = u32::from_str_radix(hex, 16).ok().filter(|_| short)?;
            Some((char::from_u32(code)?, after))
        });
        let Some((c, after)) = code else { return name.to_owned() };
        out.push(c);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read_and_others_left() {
        for (text, name) in [
            ("U__http_2e_status", "http.status"),
            ("U___5f_a", "_a"),
            ("U__a__b", "a_b"),
            ("job", "job"),
            ("U__bad_zz_", "U__bad_zz_"),
        ] {
            assert_eq!(unescape(text), name, "{text}");
        }
    }
}
