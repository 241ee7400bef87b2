//! Cuts the text of a query into tokens.
//!
//! The lexer knows where it is, as Prometheus' does: inside of braces every word is a label name,
//! inside of brackets only what durations are made of is legal. Its errors are about characters;
//! the parser's are about tokens.

mod number;
mod string;
mod token;

use rangekeeper_model::go_quote;

use crate::ast::{BinaryOp, Span};
use crate::parser::ParseError;

pub(crate) use string::unquote;
pub(crate) use token::{Keyword, Token, TokenKind};

/// Gives the tokens of a text one by one; after the first error only the end of the text.
#[expect(clippy::struct_excessive_bools, reason = "each is a place that the text can be in")]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    /// Where the next character is.
    at: usize,
    /// Where the token that is being read starts.
    start: usize,
    paren_depth: usize,
    in_braces: bool,
    in_brackets: bool,
    /// In brackets and before their first number: fewer characters are legal there.
    before_number: bool,
    seen_colon: bool,
    /// Upstream never clears it, so a colon right after a later bracket is the parser's to refuse.
    seen_duration: bool,
    failed: bool,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            start: 0,
            paren_depth: 0,
            in_braces: false,
            in_brackets: false,
            before_number: false,
            seen_colon: false,
            seen_duration: false,
            failed: false,
        }
    }

    /// The next token that is no comment.
    pub(crate) fn next_token(&mut self) -> Result<Token<'a>, ParseError> {
        if self.failed {
            self.start = self.at;
            return Ok(self.token(TokenKind::End));
        }
        self.skip_spaces();
        while self.peek() == Some('#') && !self.before_number {
            self.skip_comment();
            self.skip_spaces();
        }
        self.start = self.at;
        let token = if self.in_braces {
            self.in_braces()
        } else if self.before_number {
            self.before_number()
        } else {
            self.statement()
        };
        self.failed = token.is_err();
        token
    }

    /// Where the last token ended.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn statement(&mut self) -> Result<Token<'a>, ParseError> {
        let Some(c) = self.bump() else {
            if self.paren_depth != 0 {
                return Err(self.error("unclosed left parenthesis"));
            }
            if self.in_brackets {
                return Err(self.error("unclosed left bracket"));
            }
            return Ok(self.token(TokenKind::End));
        };
        let kind = match c {
            ',' => TokenKind::Comma,
            '*' => TokenKind::Operator(BinaryOp::Mul),
            '/' => TokenKind::Operator(BinaryOp::Div),
            '%' => TokenKind::Operator(BinaryOp::Mod),
            '+' => TokenKind::Operator(BinaryOp::Add),
            '-' => TokenKind::Operator(BinaryOp::Sub),
            '^' => TokenKind::Operator(BinaryOp::Pow),
            '@' => TokenKind::At,
            '=' => match self.peek() {
                Some('=') => self.consume(TokenKind::Operator(BinaryOp::Eq)),
                Some('~') => return Err(self.error("unexpected character after '=': '~'")),
                _ => TokenKind::Equal,
            },
            '!' => match self.bump() {
                Some('=') => TokenKind::Operator(BinaryOp::Ne),
                other => {
                    let text = format!("unexpected character after '!': {}", quoted(other));
                    return Err(self.error(text));
                }
            },
            '<' => self.after_angle(BinaryOp::Lt, BinaryOp::Le, BinaryOp::TrimUpper),
            '>' => self.after_angle(BinaryOp::Gt, BinaryOp::Ge, BinaryOp::TrimLower),
            '(' => self.open_paren(),
            ')' => return self.close_paren(),
            '{' => {
                self.in_braces = true;
                TokenKind::LeftBrace
            }
            '[' if self.in_brackets => return Err(self.error("unexpected left bracket '['")),
            '[' => {
                self.in_brackets = true;
                self.before_number = true;
                self.seen_colon = false;
                TokenKind::LeftBracket
            }
            ']' if !self.in_brackets => {
                return Err(self.error("unexpected right bracket ']'"));
            }
            ']' => self.close_bracket(),
            '"' | '\'' | '`' => return self.string(c),
            c if c.is_ascii_digit() || (c == '.' && self.next_is_digit()) => {
                return self.number_or_duration();
            }
            ':' if self.in_brackets => return self.colon_after_number(),
            c if is_alpha(c) || c == ':' => {
                if self.in_brackets {
                    return self.duration_word().ok_or_else(|| {
                        self.error(format!(
                            "unexpected character: {}, expected ':'",
                            quoted(Some(c))
                        ))
                    });
                }
                return Ok(self.word());
            }
            c => return Err(self.error(format!("unexpected character: {}", quoted(Some(c))))),
        };
        Ok(self.token(kind))
    }

    fn in_braces(&mut self) -> Result<Token<'a>, ParseError> {
        let Some(c) = self.bump() else {
            return Err(self.error("unexpected end of input inside braces"));
        };
        let kind = match c {
            ',' => TokenKind::Comma,
            '"' | '\'' | '`' => return self.string(c),
            '=' if self.peek() == Some('~') => self.consume(TokenKind::EqualRegex),
            '=' => TokenKind::Equal,
            '!' => match self.bump() {
                Some('~') => TokenKind::NotEqualRegex,
                Some('=') => TokenKind::Operator(BinaryOp::Ne),
                other => {
                    let other = quoted(other);
                    let text = format!("unexpected character after '!' inside braces: {other}");
                    return Err(self.error(text));
                }
            },
            '{' => return Err(self.error("unexpected left brace '{'")),
            '}' => {
                self.in_braces = false;
                TokenKind::RightBrace
            }
            c if is_alpha(c) => {
                self.skip_while(|c| is_alpha(c) || c.is_ascii_digit());
                TokenKind::Identifier
            }
            c => {
                let text = format!("unexpected character inside braces: {}", quoted(Some(c)));
                return Err(self.error(text));
            }
        };
        Ok(self.token(kind))
    }

    /// Inside of brackets up to and including the first number: no comments, strings or names.
    fn before_number(&mut self) -> Result<Token<'a>, ParseError> {
        let Some(c) = self.bump() else {
            return Err(self.error("unexpected end of input in duration expression"));
        };
        let kind = match c {
            ']' => self.close_bracket(),
            ':' => {
                self.start = self.at;
                if !self.seen_duration {
                    let text = "unexpected colon before duration in duration expression";
                    return Err(self.error(text));
                }
                if self.seen_colon {
                    let text = "unexpected repeated colon in duration expression";
                    return Err(self.error(text));
                }
                self.seen_colon = true;
                self.start -= 1;
                TokenKind::Colon
            }
            '(' => self.open_paren(),
            ')' => return self.close_paren(),
            '+' => TokenKind::Operator(BinaryOp::Add),
            '-' => TokenKind::Operator(BinaryOp::Sub),
            '*' => TokenKind::Operator(BinaryOp::Mul),
            '/' => TokenKind::Operator(BinaryOp::Div),
            '%' => TokenKind::Operator(BinaryOp::Mod),
            '^' => TokenKind::Operator(BinaryOp::Pow),
            ',' => TokenKind::Comma,
            c if c.is_ascii_digit() || (c == '.' && self.next_is_digit()) => {
                self.seen_duration = true;
                self.before_number = false;
                return self.number_or_duration();
            }
            c => {
                return is_alpha(c).then(|| self.duration_word()).flatten().ok_or_else(|| {
                    let c = quoted(Some(c));
                    self.error(format!("unexpected character in duration expression: {c}"))
                });
            }
        };
        Ok(self.token(kind))
    }

    fn after_angle(&mut self, alone: BinaryOp, equal: BinaryOp, trim: BinaryOp) -> TokenKind {
        match self.peek() {
            Some('=') => self.consume(TokenKind::Operator(equal)),
            Some('/') => self.consume(TokenKind::Operator(trim)),
            _ => TokenKind::Operator(alone),
        }
    }

    fn open_paren(&mut self) -> TokenKind {
        self.paren_depth += 1;
        TokenKind::LeftParen
    }

    fn close_paren(&mut self) -> Result<Token<'a>, ParseError> {
        let token = self.token(TokenKind::RightParen);
        let Some(depth) = self.paren_depth.checked_sub(1) else {
            self.start = self.at;
            return Err(self.error("unexpected right parenthesis ')'"));
        };
        self.paren_depth = depth;
        Ok(token)
    }

    fn close_bracket(&mut self) -> TokenKind {
        self.in_brackets = false;
        self.before_number = false;
        self.seen_colon = false;
        TokenKind::RightBracket
    }

    fn colon_after_number(&mut self) -> Result<Token<'a>, ParseError> {
        if self.seen_colon {
            return Err(self.error("unexpected colon ':'"));
        }
        self.seen_colon = true;
        Ok(self.token(TokenKind::Colon))
    }

    /// One of the words that durations know, its first letter already read.
    fn duration_word(&mut self) -> Option<Token<'a>> {
        self.skip_while(is_alpha);
        let word = &self.text[self.start..self.at];
        let kind = TokenKind::duration_word(word)?;
        self.seen_duration = true;
        Some(self.token(kind))
    }

    /// A keyword or a name, its first letter already read.
    fn word(&mut self) -> Token<'a> {
        self.skip_while(|c| is_alpha(c) || c.is_ascii_digit() || c == ':');
        let word = &self.text[self.start..self.at];
        let kind = match TokenKind::keyword(word) {
            // These came late, so queries that use them as names of metrics must go on to work.
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.text[self.at..].trim_start_matches(is_space).starts_with('(') =>
            {
                TokenKind::Identifier
            }
            Some(keyword) => keyword,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        };
        self.token(kind)
    }

    fn skip_spaces(&mut self) {
        self.skip_while(is_space);
    }

    fn skip_comment(&mut self) {
        self.skip_while(|c| c != '\n' && c != '\r');
    }

    fn skip_while(&mut self, mut wanted: impl FnMut(char) -> bool) {
        while let Some(c) = self.peek().filter(|c| wanted(*c)) {
            self.at += c.len_utf8();
        }
    }

    fn next_is_digit(&self) -> bool {
        self.peek().is_some_and(|c| c.is_ascii_digit())
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn consume(&mut self, kind: TokenKind) -> TokenKind {
        self.bump();
        kind
    }

    fn token(&self, kind: TokenKind) -> Token<'a> {
        Token { kind, start: offset(self.start), text: &self.text[self.start..self.at] }
    }

    fn error(&self, text: impl Into<String>) -> ParseError {
        let span = Span::new(offset(self.start), offset(self.text.len()));
        ParseError { span, text: text.into() }
    }
}

/// An offset into a text whose length the parser has checked to fit.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

/// A character as Go quotes it; the end of the text shows as the replacement character.
pub(crate) fn quoted(c: Option<char>) -> String {
    match c {
        Some('\'') => r"'\''".to_owned(),
        Some('"') => "'\"'".to_owned(),
        c => {
            let text = go_quote(c.unwrap_or('\u{fffd}').encode_utf8(&mut [0; 4]));
            format!("'{}'", &text[1..text.len() - 1])
        }
    }
}
