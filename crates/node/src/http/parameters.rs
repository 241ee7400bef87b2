//! The parameters of a request, from its URL and from the form in its body.

use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use rangekeeper_model::ErrorClass;

use super::body;
use crate::services::Failure;

/// The parameters of a request. A name may come several times; those of a form come before those of
/// the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Parameters from `application/x-www-form-urlencoded` text.
    pub fn decode(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first value of `name`.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of `name`, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All parameters, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The parameters of a request whose form may have `limit_bytes`.
    pub(super) async fn of(request: Request, limit_bytes: u64) -> Result<Self, Failure> {
        let (parts, mut body) = request.into_parts();
        let url = parts.uri.query().unwrap_or_default();
        let mut parameters = if has_form(&parts) {
            Self::decode(&form(&parts, &mut body, limit_bytes).await?)
        } else {
            Self::default()
        };
        parameters.0.extend(Self::decode(url.as_bytes()).0);
        Ok(parameters)
    }
}

/// Whether the body is a form. Other bodies are passed over, as Prometheus does.
fn has_form(parts: &Parts) -> bool {
    let form = "application/x-www-form-urlencoded";
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    parts.method == Method::POST && media_type.trim().eq_ignore_ascii_case(form)
}

async fn form(parts: &Parts, body: &mut Body, limit_bytes: u64) -> Result<bytes::Bytes, Failure> {
    let declared = parts.headers.get("content-length");
    let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
    body::read(body, declared, limit_bytes, None).await.map_err(|error| {
        let class = match error {
            body::BodyError::TooLarge { .. } => ErrorClass::TooLarge,
            body::BodyError::NoRoom | body::BodyError::Broken(_) => ErrorClass::Invalid,
        };
        Failure::new(class, error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_forms_and_urls_hold() {
        let parameters =
            Parameters::decode(b"query=1%2B1&match[]=a&match%5B%5D=%7Bb%3D%22c+d%22%7D&x");
        assert_eq!(parameters.first("query"), Some("1+1"));
        assert_eq!(parameters.all("match[]").collect::<Vec<_>>(), ["a", "{b=\"c d\"}"]);
        assert_eq!(parameters.first("x"), Some(""));
        assert_eq!(parameters.first("y"), None);
    }
}
