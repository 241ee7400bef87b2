//! String tokens and what their escapes mean.

use super::{Lexer, Token, TokenKind};
use crate::parser::ParseError;

impl<'a> Lexer<'a> {
    /// A string whose opening quote is already read.
    pub(super) fn string(&mut self, quote: char) -> Result<Token<'a>, ParseError> {
        let is_raw = quote == '`';
        loop {
            match self.bump() {
                Some(c) if c == quote => return Ok(self.token(TokenKind::String)),
                Some('\\') if !is_raw => self.escape(quote)?,
                // Upstream cannot tell this character from what stands for bytes that are no UTF-8.
                Some('\u{fffd}') => return Err(self.error("invalid UTF-8 rune")),
                None if is_raw => return Err(self.error("unterminated raw string")),
                None => return Err(self.error("unterminated quoted string")),
                Some('\n') if !is_raw => return Err(self.error("unterminated quoted string")),
                Some(_) => {}
            }
        }
    }

    /// Checks an escape whose backslash is already read.
    fn escape(&mut self, quote: char) -> Result<(), ParseError> {
        let Some(c) = self.bump() else {
            return Err(self.error("escape sequence not terminated"));
        };
        let (mut digits, base, first) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
            c if c == quote => return Ok(()),
            '0'..='7' => (3, 8, Some(c)),
            'x' => (2, 16, self.bump()),
            'u' => (4, 16, self.bump()),
            'U' => (8, 16, self.bump()),
            c => return Err(self.error(format!("unknown escape sequence {}", code_point(c)))),
        };
        let max = if base == 8 || c == 'x' { 255 } else { u32::from(char::MAX) };
        let mut value: u32 = 0;
        let mut next = first;
        while digits > 0 {
            let Some(c) = next else {
                return Err(self.error("escape sequence not terminated"));
            };
            let Some(digit) = c.to_digit(base) else {
                let c = code_point(c);
                return Err(self.error(format!("illegal character {c} in escape sequence")));
            };
            value = value.wrapping_mul(base).wrapping_add(digit);
            digits -= 1;
            if digits > 0 {
                next = self.bump();
            }
        }
        if value > max || (0xd800..0xe000).contains(&value) {
            return Err(self.error("escape sequence is an invalid Unicode code point"));
        }
        Ok(())
    }
}

/// A character as Go's `%#U` shows it.
fn code_point(c: char) -> String {
    let quoted = super::quoted(Some(c));
    let is_printable = c == '\'' || c == '"' || c == '\\' || !quoted.contains('\\');
    if is_printable {
        format!("U+{:04X} '{c}'", u32::from(c))
    } else {
        format!("U+{:04X}", u32::from(c))
    }
}

/// The bytes that a string token stands for. The token came from a [`Lexer`], so its escapes are
/// legal.
pub(crate) fn unquote(token: &str) -> Vec<u8> {
    let inner = &token[1..token.len() - 1];
    if token.starts_with('`') {
        return inner.as_bytes().to_vec();
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let length = append_escape(&mut bytes, escape);
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Appends what `escape` (the text after a backslash) starts with; returns how long that is.
fn append_escape(bytes: &mut Vec<u8>, escape: &str) -> usize {
    let c = escape.chars().next().expect("the lexer refuses a lone backslash");
    let simple = match c {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '0'..='7' => {
            let value = u32::from_str_radix(&escape[..3], 8).expect("the lexer saw three digits");
            bytes.push(u8::try_from(value).expect("the lexer refuses more than 255"));
            return 3;
        }
        'x' => {
            let value = u8::from_str_radix(&escape[1..3], 16).expect("the lexer saw two digits");
            bytes.push(value);
            return 3;
        }
        'u' | 'U' => {
            let length = if c == 'u' { 5 } else { 9 };
            let value = u32::from_str_radix(&escape[1..length], 16).expect("the lexer saw them");
            let c = char::from_u32(value).expect("the lexer refuses other code points");
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return length;
        }
        other => {
            bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
            return other.len_utf8();
        }
    };
    bytes.push(simple);
    1
}
