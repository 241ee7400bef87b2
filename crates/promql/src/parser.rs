//! Turns the text of a query into a syntax tree.
//!
//! A lexer, a parser by precedence and a checker of types, with the errors, positions and texts of
//! Prometheus' own parser. Parsing stops at the first error of syntax; errors of meaning are
//! collected before that, and the checker runs only if there is none. Users see the first.

mod aggregate;
mod binary;
mod duration;
mod error;
mod literal;
mod postfix;
mod selector;

use rangekeeper_model::{Labels, Matcher};

use crate::ast::{Expr, NumberLiteral, Span};
use crate::checker;
use crate::functions::Function;
use crate::lexer::{Lexer, Token, TokenKind};

pub use error::{ParseError, ParseErrors, SelectorError};
pub(crate) use literal::{duration_text_seconds, number_value};

/// What the parser takes.
#[expect(clippy::struct_excessive_bools, reason = "upstream gates these four one by one")]
#[derive(Clone, Copy, Debug)]
pub struct ParserOptions {
    /// The functions and aggregations that Prometheus calls experimental.
    pub experimental_functions: bool,
    /// Arithmetic, `step()`, `range()`, `min_of` and `max_of` in durations.
    pub duration_expressions: bool,
    /// The modifiers `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left` and `fill_right` of binary operators.
    pub fill_modifiers: bool,
    /// The longest text, in bytes.
    pub max_bytes: usize,
    /// The deepest nesting; more than 1,000 is taken as 1,000, which no thread's stack has trouble
    /// with.
    pub max_depth: usize,
}

impl ParserOptions {
    /// Everything that the language has.
    pub const ALL: Self = Self {
        experimental_functions: true,
        duration_expressions: true,
        extended_range_selectors: true,
        fill_modifiers: true,
        max_bytes: 64 * 1024,
        max_depth: 200,
    };
}

/// The greatest nesting that the parser allows whatever the options say.
const MAX_DEPTH: usize = 1_000;

/// Parses and checks an expression.
pub fn parse(text: &str, options: &ParserOptions) -> Result<Expr, ParseErrors> {
    let mut parser = Parser::new(text, options);
    let Ok(mut expr) = parser.whole(Parser::expression) else {
        return Err(parser.into_errors());
    };
    if parser.errors.is_empty() {
        parser.errors = checker::check(text, &expr);
    }
    if !parser.errors.is_empty() {
        return Err(parser.into_errors());
    }
    checker::settle_matching(&mut expr);
    Ok(expr)
}

/// The milliseconds of a duration as the language writes it, such as `1h30m`; `None` for any other
/// text.
#[expect(clippy::cast_possible_truncation, reason = "a duration is bounded far below 2^53 ms")]
pub fn parse_duration_ms(text: &str) -> Option<i64> {
    duration_text_seconds(text).ok().map(|seconds| (seconds * 1000.0).round() as i64)
}

/// Parses what `match[]` takes: a vector selector without modifiers, of which at least one matcher
/// does not match the empty value. A trailing comma is legal.
pub fn parse_metric_selector(
    text: &str,
    options: &ParserOptions,
) -> Result<Vec<Matcher>, SelectorError> {
    let mut parser = Parser::new(text, options);
    let selector = parser.whole(Parser::bare_selector);
    let Ok(selector) = selector else {
        return Err(parser.into_errors().into());
    };
    if !parser.errors.is_empty() {
        return Err(parser.into_errors().into());
    }
    if selector.matchers.iter().all(Matcher::matches_empty) {
        return Err(SelectorError::MatchesEverything);
    }
    Ok(selector.matchers)
}

/// Parses the labels at the start of `text`, as `name{label="value"}`; returns them and where they
/// end.
pub(crate) fn parse_metric(text: &str) -> Result<(Labels, usize), ParseErrors> {
    let mut parser = Parser::new(text, &ParserOptions::ALL);
    match parser.metric() {
        Ok(parsed) if parser.errors.is_empty() => Ok(parsed),
        _ => Err(parser.into_errors()),
    }
}

/// Parsing cannot go on; the error is noted.
struct Stop;

type Parsed<T> = Result<T, Stop>;

/// Where an unexpected token stands and what could stand there instead; empty where there is
/// nothing helpful to say.
#[derive(Clone, Copy)]
struct Context {
    place: &'static str,
    expected: &'static str,
}

const NO_CONTEXT: Context = Context { place: "", expected: "" };

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    /// The token that was looked at and not yet taken.
    ahead: Option<Token<'a>>,
    errors: Vec<ParseError>,
    options: ParserOptions,
    /// How deep the expression that is being parsed lies.
    depth: usize,
    /// Where the token that was taken last ends.
    end: u32,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, options: &ParserOptions) -> Self {
        let options = ParserOptions { max_depth: options.max_depth.min(MAX_DEPTH), ..*options };
        let lexer = Lexer::new(text);
        Self { text, lexer, ahead: None, errors: Vec::new(), options, depth: 0, end: 0 }
    }

    fn into_errors(self) -> ParseErrors {
        ParseErrors::new(self.text, self.errors)
    }

    /// Parses the whole text with `part`.
    fn whole<T>(&mut self, part: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let max_bytes = self.options.max_bytes;
        if self.text.len() > max_bytes || u32::try_from(self.text.len()).is_err() {
            let text = format!("expression is longer than {max_bytes} bytes");
            self.error(Span::default(), text);
            return Err(Stop);
        }
        let parsed = part(self)?;
        let next = self.peek()?;
        if next.kind != TokenKind::End {
            return Err(self.unexpected(NO_CONTEXT));
        }
        Ok(parsed)
    }

    fn expression(&mut self) -> Parsed<Expr> {
        if self.peek()?.kind == TokenKind::End {
            self.error(Span::default(), "no expression found in input");
            return Err(Stop);
        }
        self.expr(0)
    }

    /// An operand of an operator, without the operators after it that bind weaker than those of
    /// [`Self::postfix`].
    fn operand(&mut self) -> Parsed<Expr> {
        let token = self.peek()?;
        let expr = match token.kind {
            kind if kind.is_metric_name() => self.named()?,
            TokenKind::LeftBrace => Expr::Vector(self.selector(None)?),
            TokenKind::Number | TokenKind::Duration => {
                self.take();
                Expr::Number(self.number(token))
            }
            TokenKind::String => {
                self.take();
                Expr::String(literal::string(token))
            }
            TokenKind::LeftParen => self.parens()?,
            _ => return Err(self.unexpected(NO_CONTEXT)),
        };
        self.postfix(expr)
    }

    /// What starts with a word: a call, an aggregation or a selector.
    fn named(&mut self) -> Parsed<Expr> {
        let token = self.take();
        let next = self.peek()?.kind;
        match token.kind {
            TokenKind::Aggregate(op) if aggregate::starts_aggregation(next) => {
                self.aggregate(op, token)
            }
            TokenKind::Identifier
            | TokenKind::Start
            | TokenKind::EndWord
            | TokenKind::Step
            | TokenKind::Range
            | TokenKind::MinOf
            | TokenKind::MaxOf
                if next == TokenKind::LeftParen =>
            {
                self.call(token)
            }
            _ => Ok(Expr::Vector(self.selector(Some(token))?)),
        }
    }

    fn call(&mut self, name: Token<'a>) -> Parsed<Expr> {
        let (args, args_span) = self.arguments()?;
        let span = name.span().to(args_span);
        let Some(function) = Function::from_name(name.text) else {
            let quoted = rangekeeper_model::go_quote(name.text);
            self.error(name.span(), format!("unknown function with name {quoted}"));
            return Ok(placeholder(span));
        };
        if function.signature().experimental && !self.options.experimental_functions {
            self.error(name.span(), format!("function \"{function}\" is not enabled"));
        }
        Ok(Expr::Call(crate::ast::Call { function, args, span, args_span }))
    }

    /// The arguments of a call in their parentheses.
    fn arguments(&mut self) -> Parsed<(Vec<Expr>, Span)> {
        let open = self.expect(TokenKind::LeftParen, NO_CONTEXT)?;
        let mut args = Vec::new();
        if self.peek()?.kind != TokenKind::RightParen {
            args.push(self.expr(0)?);
        }
        while self.peek()?.kind == TokenKind::Comma {
            let comma = self.take();
            if matches!(self.peek()?.kind, TokenKind::RightParen | TokenKind::Comma) {
                let text = "trailing commas not allowed in function call args";
                self.error(comma.span(), text);
            } else {
                args.push(self.expr(0)?);
            }
        }
        let close = self.expect(TokenKind::RightParen, NO_CONTEXT)?;
        Ok((args, open.span().to(close.span())))
    }

    fn parens(&mut self) -> Parsed<Expr> {
        let open = self.take();
        let expr = self.expr(0)?;
        let close = self.expect(TokenKind::RightParen, NO_CONTEXT)?;
        let span = open.span().to(close.span());
        Ok(Expr::Paren(Box::new(crate::ast::Paren { expr, span })))
    }

    /// The next token, which stays to be taken.
    fn peek(&mut self) -> Parsed<Token<'a>> {
        if let Some(token) = self.ahead {
            return Ok(token);
        }
        match self.lexer.next_token() {
            Ok(token) => {
                self.ahead = Some(token);
                Ok(token)
            }
            Err(error) => {
                self.errors.push(error);
                Err(Stop)
            }
        }
    }

    /// Takes the token that was looked at.
    fn take(&mut self) -> Token<'a> {
        let token = self.ahead.take().expect("a token is looked at before it is taken");
        self.end = token.span().end;
        token
    }

    fn expect(&mut self, kind: TokenKind, context: Context) -> Parsed<Token<'a>> {
        if self.peek()?.kind == kind { Ok(self.take()) } else { Err(self.unexpected(context)) }
    }

    /// Notes that the token that was looked at cannot stand there.
    fn unexpected(&mut self, context: Context) -> Stop {
        let token = self.take();
        let mut text = format!("unexpected {}", token.description());
        if !context.place.is_empty() {
            text.push_str(" in ");
            text.push_str(context.place);
        }
        if !context.expected.is_empty() {
            text.push_str(", expected ");
            text.push_str(context.expected);
        }
        self.error(token.span(), text);
        Stop
    }

    fn error(&mut self, span: Span, text: impl Into<String>) {
        self.errors.push(ParseError { span, text: text.into() });
    }

    /// Runs `part` one level deeper, unless that is too deep.
    fn deeper<T>(&mut self, part: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.check_height(self.depth + 1)?;
        self.depth += 1;
        let parsed = part(self);
        self.depth -= 1;
        parsed
    }

    fn check_height(&mut self, height: usize) -> Parsed<()> {
        let max_depth = self.options.max_depth;
        if height <= max_depth {
            return Ok(());
        }
        let span = self.peek()?.span();
        self.error(span, format!("expression is nested deeper than {max_depth} levels"));
        Err(Stop)
    }
}

/// Stands for an expression that is known to be wrong, so that the rest can be parsed.
fn placeholder(span: Span) -> Expr {
    Expr::Number(NumberLiteral { value: 0.0, is_duration: false, span })
}
