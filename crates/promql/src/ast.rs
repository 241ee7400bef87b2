//! The syntax tree of a PromQL expression.
//!
//! Every node knows the bytes of the text that it came from, because annotations and errors name
//! them by line and column. A tree that [`parse`](crate::parse) returns has passed the checker:
//! argument counts and types are right, regexes compile, every selector has a matcher that refuses
//! the empty value.
//!
//! **How deep a tree is.** The parser limits nesting (parentheses, arguments, signs,
//! right-associative and postfix operators) to
//! [`ParserOptions::max_depth`](crate::ParserOptions::max_depth). Left-associative chains (`a + b +
//! c …`) are not nesting: their tree is as deep on its left side as the chain is long. What
//! recurses into a tree must therefore go down the left side in a loop ([`Binary::chain`]); then
//! the limit bounds its recursion.

mod duration;
mod operators;

use std::fmt;

use rangekeeper_model::Matcher;

use crate::functions::Function;

pub use duration::{Duration, DurationContext, DurationError, DurationExpr, DurationOp};
pub use operators::{AggregateOp, BinaryOp, UnaryOp};

/// A range of bytes of the query text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number a step.
    Scalar,
    /// One text.
    String,
    /// A sample a series a step.
    Vector,
    /// A range of samples a series a step.
    Matrix,
}

/// An expression.
#[derive(Clone)]
pub enum Expr {
    /// `1.5`, `5m`
    Number(NumberLiteral),
    /// `"text"`
    String(StringLiteral),
    /// `up{job="node"}`
    Vector(VectorSelector),
    /// `up[5m]`
    Matrix(MatrixSelector),
    /// `rate(x[1m])[1h:5m]`
    Subquery(Box<Subquery>),
    /// `rate(…)`
    Call(Call),
    /// `sum by (job) (…)`
    Aggregate(Box<Aggregate>),
    /// `a + b`
    Binary(Box<Binary>),
    /// `-a`
    Unary(Box<Unary>),
    /// `(a)`
    Paren(Box<Paren>),
}

/// A number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NumberLiteral {
    /// The number; for a duration its seconds. A sign before it is folded in.
    pub value: f64,
    /// Whether it was written as a duration (`5m`), and so is printed as one.
    pub is_duration: bool,
    /// Where it stands, sign included.
    pub span: Span,
}

/// A string. PromQL's strings are bytes: `"\xff"` is legal, though nothing that needs a label name
/// or value takes it.
#[derive(Clone, Debug)]
pub struct StringLiteral {
    /// The bytes after the escapes were resolved.
    pub bytes: Vec<u8>,
    /// Where it stands, quotes included.
    pub span: Span,
}

/// Selects series by matchers, one sample of each a step.
#[derive(Clone)]
pub struct VectorSelector {
    /// The name that stands before the braces; its matcher is the last of `matchers`. A name
    /// inside of the braces is a matcher and nothing else.
    pub name: Option<String>,
    /// All conditions in the order written, the name's last.
    pub matchers: Vec<Matcher>,
    /// How far back in time it looks; 0 where not written, negative for the future.
    pub offset: Duration,
    /// The `@` modifier.
    pub at: Option<At>,
    /// Whether values at the borders of a range are taken from the samples before.
    pub anchored: bool,
    /// Whether values at the borders are interpolated.
    pub smoothed: bool,
    /// Where it stands, modifiers included.
    pub span: Span,
}

/// The `@` modifier: the time at which a selector or subquery is evaluated, whatever the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// `@ 1609746000`: milliseconds since the epoch.
    Timestamp(i64),
    /// `@ start()`: the start of the query.
    Start,
    /// `@ end()`: the end of the query.
    End,
}

/// Selects a range of samples of each series. Its `offset` and `@` are those of the inner selector.
#[derive(Clone)]
pub struct MatrixSelector {
    /// Which series, and the modifiers; its span ends before the bracket unless a modifier
    /// follows.
    pub selector: VectorSelector,
    /// Length of the range; above 0.
    pub range: Duration,
    /// Where it stands, modifiers included.
    pub span: Span,
}

/// Evaluates an instant vector at the steps of a range.
#[derive(Clone)]
pub struct Subquery {
    /// What is evaluated; an instant vector.
    pub expr: Expr,
    /// Length of the range; above 0.
    pub range: Duration,
    /// Distance of the steps; `None` where not written, which means the engine's default.
    pub step: Option<Duration>,
    /// How far back in time it looks; 0 where not written, negative for the future.
    pub offset: Duration,
    /// The `@` modifier.
    pub at: Option<At>,
    /// Where it stands, modifiers included.
    pub span: Span,
}

/// Calls a function.
#[derive(Clone)]
pub struct Call {
    /// Which one.
    pub function: Function,
    /// Its arguments, as many and of the types that the function's signature says.
    pub args: Vec<Expr>,
    /// Where it stands.
    pub span: Span,
    /// The argument list with its parentheses.
    pub args_span: Span,
}

/// Aggregates the series of an instant vector.
#[derive(Clone)]
pub struct Aggregate {
    /// How.
    pub op: AggregateOp,
    /// Labels that are kept, or dropped if `without`.
    pub grouping: Vec<String>,
    /// Whether `grouping` names the labels to drop.
    pub without: bool,
    /// The parameter, for those operators that have one.
    pub param: Option<Expr>,
    /// What is aggregated.
    pub expr: Expr,
    /// Where it stands.
    pub span: Span,
}

/// Combines two operands.
pub struct Binary {
    /// How.
    pub op: BinaryOp,
    /// The left operand.
    pub lhs: Expr,
    /// The right operand.
    pub rhs: Expr,
    /// Whether a comparison gives 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How series find each other; `Some` exactly if both operands are instant vectors.
    pub matching: Option<VectorMatching>,
    /// A scalar if both operands are, else an instant vector.
    pub returns: ValueType,
    /// From the start of the left operand to the end of the right one.
    pub span: Span,
}

/// How the series of two instant vectors find each other.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorMatching {
    /// How many series may meet.
    pub card: Cardinality,
    /// Labels that are compared, or ignored if not `on`.
    pub labels: Vec<String>,
    /// Whether `labels` names the labels to compare.
    pub on: bool,
    /// Labels that the result takes from the side of one (`group_left(…)`).
    pub include: Vec<String>,
    /// Value for a series that the left operand lacks.
    pub fill_left: Option<f64>,
    /// Value for a series that the right operand lacks.
    pub fill_right: Option<f64>,
}

/// How many series of each operand may meet in one match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// One of each.
    OneToOne,
    /// Many of the left, one of the right: `group_left`.
    ManyToOne,
    /// One of the left, many of the right: `group_right`.
    OneToMany,
    /// The set operators.
    ManyToMany,
}

/// A sign before an expression that is not a number.
#[derive(Clone)]
pub struct Unary {
    /// Which sign.
    pub op: UnaryOp,
    /// A scalar or an instant vector.
    pub expr: Expr,
    /// Where it stands.
    pub span: Span,
}

/// An expression in parentheses.
#[derive(Clone)]
pub struct Paren {
    /// What they hold.
    pub expr: Expr,
    /// Where they stand.
    pub span: Span,
}

impl Span {
    /// The range from `start` to before `end`.
    pub fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }

    /// From where `self` starts to where `other` ends.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }
}

impl Expr {
    /// What it evaluates to.
    pub fn value_type(&self) -> ValueType {
        let mut expr = self;
        loop {
            return match expr {
                Self::Number(_) => ValueType::Scalar,
                Self::String(_) => ValueType::String,
                Self::Vector(_) | Self::Aggregate(_) => ValueType::Vector,
                Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
                Self::Call(call) => call.function.signature().returns,
                Self::Binary(binary) => binary.returns,
                Self::Unary(unary) => {
                    expr = &unary.expr;
                    continue;
                }
                Self::Paren(paren) => {
                    expr = &paren.expr;
                    continue;
                }
            };
        }
    }

    /// Where it stands in the text.
    pub fn span(&self) -> Span {
        match self {
            Self::Number(n) => n.span,
            Self::String(s) => s.span,
            Self::Vector(v) => v.span,
            Self::Matrix(m) => m.span,
            Self::Subquery(s) => s.span,
            Self::Call(c) => c.span,
            Self::Aggregate(a) => a.span,
            Self::Binary(b) => b.span,
            Self::Unary(u) => u.span,
            Self::Paren(p) => p.span,
        }
    }

    /// The expression without the parentheses around it.
    pub fn without_parens(&self) -> &Self {
        let mut expr = self;
        while let Self::Paren(paren) = expr {
            expr = &paren.expr;
        }
        expr
    }

    /// The operands, in the order of the text. A matrix selector has none: its vector selector is
    /// part of it.
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number(_) | Self::String(_) | Self::Vector(_) | Self::Matrix(_) => Vec::new(),
            Self::Subquery(s) => vec![&s.expr],
            Self::Call(c) => c.args.iter().collect(),
            Self::Aggregate(a) => a.param.iter().chain([&a.expr]).collect(),
            Self::Binary(b) => vec![&b.lhs, &b.rhs],
            Self::Unary(u) => vec![&u.expr],
            Self::Paren(p) => vec![&p.expr],
        }
    }

    /// The operands, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Number(_) | Self::String(_) | Self::Vector(_) | Self::Matrix(_) => Vec::new(),
            Self::Subquery(s) => vec![&mut s.expr],
            Self::Call(c) => c.args.iter_mut().collect(),
            Self::Aggregate(a) => a.param.iter_mut().chain([&mut a.expr]).collect(),
            Self::Binary(b) => {
                let Binary { lhs, rhs, .. } = &mut **b;
                vec![lhs, rhs]
            }
            Self::Unary(u) => vec![&mut u.expr],
            Self::Paren(p) => vec![&mut p.expr],
        }
    }

    /// Calls `visit` for this expression and all in it, each before its operands, without
    /// recursion.
    pub fn visit<'a>(&'a self, mut visit: impl FnMut(&'a Self)) {
        let mut open = vec![self];
        while let Some(expr) = open.pop() {
            visit(expr);
            open.extend(expr.children().into_iter().rev());
        }
    }

    /// Whether it is a vector selector or the same in parentheses.
    pub fn as_vector_selector(&self) -> Option<&VectorSelector> {
        match self.without_parens() {
            Self::Vector(selector) => Some(selector),
            _ => None,
        }
    }
}

impl StringLiteral {
    /// The text, if the bytes are UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }
}

impl Binary {
    /// The chain that this operator ends, seen from its first operand: `((a + b) - c)` gives `a`
    /// and then `+` and `-`, of which each has the value so far on its left and an operand of
    /// its own on its right.
    pub fn chain(&self) -> (&Expr, Vec<&Self>) {
        let mut links = vec![self];
        let mut first = &self.lhs;
        while let Expr::Binary(binary) = first {
            links.push(binary);
            first = &binary.lhs;
        }
        links.reverse();
        (first, links)
    }
}

impl fmt::Debug for Expr {
    /// Its place: the derived form would recurse as deep as chains are long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { start, end } = self.span();
        write!(f, "Expr({start}..{end})")
    }
}

impl Clone for Binary {
    /// Copies chains in a loop, for they may be as long as the text.
    fn clone(&self) -> Self {
        let (first, links) = self.chain();
        let mut lhs = first.clone();
        let last = links.len() - 1;
        for link in &links[..last] {
            lhs = Expr::Binary(Box::new(link.with_lhs(lhs)));
        }
        self.with_lhs(lhs)
    }
}

impl Binary {
    fn with_lhs(&self, lhs: Expr) -> Self {
        Self {
            op: self.op,
            lhs,
            rhs: self.rhs.clone(),
            return_bool: self.return_bool,
            matching: self.matching.clone(),
            returns: self.returns,
            span: self.span,
        }
    }
}

impl Drop for Binary {
    /// Takes chains apart in a loop, for they may be as long as the text.
    fn drop(&mut self) {
        let mut lhs = std::mem::replace(&mut self.lhs, Expr::Number(NumberLiteral::default()));
        while let Expr::Binary(binary) = &mut lhs {
            let inner = Expr::Number(NumberLiteral::default());
            let inner = std::mem::replace(&mut binary.lhs, inner);
            lhs = inner;
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        })
    }
}
