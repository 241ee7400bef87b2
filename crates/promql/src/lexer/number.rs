//! Number and duration tokens. What is cut out here is not yet a valid number; reading it decides.

use rangekeeper_model::go_quote;

use super::{Lexer, Token, TokenKind, is_alpha};
use crate::parser::ParseError;

impl<'a> Lexer<'a> {
    /// A number or duration, its first character already read.
    pub(super) fn number_or_duration(&mut self) -> Result<Token<'a>, ParseError> {
        self.at = self.start;
        if self.number() {
            return Ok(self.token(TokenKind::Number));
        }
        if self.rest_of_duration() {
            return Ok(self.token(TokenKind::Duration));
        }
        let read = go_quote(&self.text[self.start..self.at]);
        Err(self.error(format!("bad number or duration syntax: {read}")))
    }

    /// Reads as far as a number may go; says whether it is one and nothing follows that would make
    /// it a word.
    fn number(&mut self) -> bool {
        let is_hex = self.accept(|c| c == '0') && self.accept(|c| matches!(c, 'x' | 'X'));
        if is_hex {
            self.accept(|c| c == '_');
        }
        let is_digit = |c: char| if is_hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
        self.accept(|c| c == '.');
        self.accept(is_digit);
        let (mut seen_dot, mut seen_exponent) = (false, false);
        while let Some(c) =
            self.peek().filter(|c| is_digit(*c) || matches!(c, '.' | '_' | 'e' | 'E'))
        {
            match c {
                '.' => {
                    self.bump();
                    if seen_dot || self.accept(|c| matches!(c, '_' | '.')) || is_hex {
                        return false;
                    }
                    seen_dot = true;
                }
                'e' | 'E' => {
                    self.bump();
                    if seen_exponent {
                        return false;
                    }
                    seen_exponent = true;
                    self.accept(|c| matches!(c, '+' | '-'));
                    let follows_badly = self.accept(|c| matches!(c, '.' | '_' | 'e' | 'E'));
                    if follows_badly || self.peek().is_none() {
                        return false;
                    }
                }
                '_' => {
                    self.bump();
                    let follows_badly = self.accept(|c| matches!(c, '.' | '_' | 'e' | 'E'));
                    if follows_badly || self.peek().is_none() {
                        return false;
                    }
                }
                _ => self.skip_while(is_digit),
            }
        }
        !self.peek().is_some_and(|c| is_alpha(c) || c.is_ascii_digit())
    }

    /// Goes on after the first number of a duration. Units in the wrong order and bad ones like
    /// `hs` are found when the duration is read.
    fn rest_of_duration(&mut self) -> bool {
        if !self.accept(|c| "smhdwy".contains(c)) {
            return false;
        }
        self.accept(|c| c == 's');
        while self.accept(|c| c.is_ascii_digit()) {
            self.skip_while(|c| c.is_ascii_digit());
            if !self.accept(|c| "smhdw".contains(c)) {
                return false;
            }
            self.accept(|c| c == 's');
        }
        let follows_badly = self.peek().is_some_and(|c| is_alpha(c) || c.is_ascii_digit());
        if follows_badly {
            self.bump();
        }
        !follows_badly
    }

    fn accept(&mut self, wanted: impl FnOnce(char) -> bool) -> bool {
        let found = self.peek().filter(|c| wanted(*c));
        self.at += found.map_or(0, char::len_utf8);
        found.is_some()
    }
}
