//! Checks the types and forms of what was parsed, and puts vector matching into its settled form.
//!
//! The order of the errors is upstream's: operands before what holds them.

use rangekeeper_model::{METRIC_NAME, Matcher, go_quote};

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, Span, ValueType,
    VectorMatching, VectorSelector,
};
use crate::functions::{Function, Variadic};
use crate::parser::ParseError;

/// All that is wrong with `expr`, which was parsed from `text`.
pub(crate) fn check(text: &str, expr: &Expr) -> Vec<ParseError> {
    let mut checker = Checker { text, errors: Vec::new() };
    checker.expr(expr);
    checker.errors
}

/// Drops the matching of operators whose operands are not both vectors, and makes that of set
/// operators many-to-many. Runs on what [`check`] has passed.
pub(crate) fn settle_matching(expr: &mut Expr) {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        let Expr::Binary(binary) = expr else {
            open.extend(expr.children_mut());
            continue;
        };
        let types = [binary.lhs.value_type(), binary.rhs.value_type()];
        if types != [ValueType::Vector; 2] {
            binary.matching = None;
        }
        if let Some(matching) = binary.matching.as_mut().filter(|_| binary.op.is_set()) {
            matching.card = Cardinality::ManyToMany;
        }
        let Binary { lhs, rhs, .. } = &mut **binary;
        open.extend([lhs, rhs]);
    }
}

struct Checker<'a> {
    text: &'a str,
    errors: Vec<ParseError>,
}

impl Checker<'_> {
    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Vector(selector) => self.selector(selector),
            Expr::Matrix(matrix) => self.selector(&matrix.selector),
            Expr::Subquery(subquery) => {
                self.expr(&subquery.expr);
                let got = match subquery.expr.value_type() {
                    ValueType::Vector => return,
                    ValueType::Matrix => "matrix",
                    ValueType::Scalar => "scalar",
                    ValueType::String => "string",
                };
                let text = format!("subquery is only allowed on instant vector, got {got} instead");
                self.error(subquery.span, text);
            }
            Expr::Call(call) => self.call(call),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => {
                let (first, links) = binary.chain();
                self.expr(first);
                for link in links {
                    self.expr(&link.rhs);
                    self.binary(link);
                }
            }
            Expr::Unary(unary) => {
                self.expr(&unary.expr);
                let got = unary.expr.value_type();
                if !matches!(got, ValueType::Scalar | ValueType::Vector) {
                    let text = format!(
                        "unary expression only allowed on expressions of type scalar or instant \
                         vector, got \"{got}\""
                    );
                    self.error(unary.span, text);
                }
            }
            Expr::Paren(paren) => self.expr(&paren.expr),
        }
    }

    fn selector(&mut self, selector: &VectorSelector) {
        if let Some(name) = &selector.name {
            let inside = &selector.matchers[..selector.matchers.len() - 1];
            for matcher in inside.iter().filter(|matcher| matcher.name() == METRIC_NAME) {
                let (name, other) = (go_quote(name), go_quote(matcher.value()));
                let text = format!("metric name must not be set twice: {name} or {other}");
                self.error(selector.span, text);
            }
        } else if selector.matchers.iter().all(Matcher::matches_empty) {
            let text = "vector selector must contain at least one non-empty matcher";
            self.error(selector.span, text);
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate) {
        self.expect(&aggregate.expr, ValueType::Vector, "aggregation expression");
        let Some(param) = &aggregate.param else { return };
        let expected = match aggregate.op {
            AggregateOp::CountValues => ValueType::String,
            _ => ValueType::Scalar,
        };
        self.expect(param, expected, "aggregation parameter");
    }

    fn expect(&mut self, expr: &Expr, expected: ValueType, place: &str) {
        self.expr(expr);
        let got = expr.value_type();
        if got != expected {
            self.error(expr.span(), format!("expected type {expected} in {place}, got {got}"));
        }
    }

    fn call(&mut self, call: &Call) {
        let signature = call.function.signature();
        self.arity(call);
        if call.function == Function::Info && call.args.len() > 1 {
            self.info_selector(call);
        }
        for (index, arg) in call.args.iter().enumerate() {
            if signature.variadic == Variadic::No && index >= signature.arguments.len() {
                break;
            }
            // The selector of `info` chooses labels, not series: it may match everything.
            let is_label_selector = call.function == Function::Info && index == 1;
            if !(is_label_selector && matches!(arg, Expr::Vector(_))) {
                self.expr(arg);
            }
            let (expected, got) = (signature.argument(index), arg.value_type());
            if got != expected {
                let name = signature.name;
                let text =
                    format!("expected type {expected} in call to function \"{name}\", got {got}");
                self.error(arg.span(), text);
            }
        }
    }

    fn arity(&mut self, call: &Call) {
        let signature = call.function.signature();
        let (name, got) = (signature.name, call.args.len());
        let (min, max) = (signature.min_arguments(), signature.max_arguments());
        let expected = if signature.variadic == Variadic::No && got != min {
            format!("{min}")
        } else if got < min {
            format!("at least {min}")
        } else if let Some(max) = max.filter(|max| got > *max) {
            format!("at most {max}")
        } else {
            return;
        };
        let text = format!("expected {expected} argument(s) in call to \"{name}\", got {got}");
        self.error(call.span, text);
    }

    fn info_selector(&mut self, call: &Call) {
        let selector = &call.args[1];
        let got = selector.value_type();
        if got != ValueType::Vector {
            let text =
                format!("expected type instant vector in call to function \"info\", got {got}");
            self.error(call.span, text);
        }
        match selector {
            Expr::Vector(selector) if selector.name.is_none() => {}
            Expr::Vector(selector) => {
                let text = "expected label selectors only, got vector selector instead";
                self.error(selector.span, text);
            }
            other => self.error(other.span(), "expected label selectors only"),
        }
    }

    fn binary(&mut self, binary: &Binary) {
        let op = binary.op;
        let (lhs, rhs) = (binary.lhs.value_type(), binary.rhs.value_type());
        let both_scalar = (lhs, rhs) == (ValueType::Scalar, ValueType::Scalar);
        if binary.return_bool && !op.is_comparison() {
            let text = "bool modifier can only be used on comparison operators";
            self.error(self.operator_span(binary), text);
        }
        if op.is_comparison() && !binary.return_bool && both_scalar {
            let text = "comparisons between scalars must use BOOL modifier";
            self.error(self.operator_span(binary), text);
        }
        if let Some(matching) = binary.matching.as_ref().filter(|matching| matching.on) {
            self.disjoint(binary, matching);
        }
        for operand in [&binary.lhs, &binary.rhs] {
            if !matches!(operand.value_type(), ValueType::Scalar | ValueType::Vector) {
                let text = "binary expression must contain only scalar and instant vector types";
                self.error(operand.span(), text);
            }
        }
        if let Some(matching) = &binary.matching {
            if (lhs, rhs) == (ValueType::Vector, ValueType::Vector) {
                self.set_matching(op, matching, binary.span);
            } else {
                self.no_matching(matching, binary.span);
            }
        }
        if op.is_set() && (lhs == ValueType::Scalar || rhs == ValueType::Scalar) {
            let text = format!("set operator \"{op}\" not allowed in binary scalar expression");
            self.error(binary.span, text);
        }
    }

    fn disjoint(&mut self, binary: &Binary, matching: &VectorMatching) {
        for label in &matching.labels {
            for _ in matching.include.iter().filter(|other| *other == label) {
                let label = go_quote(label);
                let text = format!("label {label} must not occur in ON and GROUP clause at once");
                self.error(self.operator_span(binary), text);
            }
        }
    }

    fn no_matching(&mut self, matching: &VectorMatching, span: Span) {
        if !matching.labels.is_empty() {
            self.error(span, "vector matching only allowed between instant vectors");
        }
        if has_fill(matching) {
            self.error(span, "filling in missing series only allowed between instant vectors");
        }
    }

    fn set_matching(&mut self, op: BinaryOp, matching: &VectorMatching, span: Span) {
        if !op.is_set() {
            return;
        }
        if matching.card != Cardinality::OneToOne {
            self.error(span, format!("no grouping allowed for \"{op}\" operation"));
            self.error(span, "set operations must always be many-to-many");
        }
        if has_fill(matching) {
            self.error(span, "filling in missing series not allowed for set operators");
        }
    }

    /// From the operator to the last byte of its modifiers, as upstream counts it: without that
    /// last byte.
    fn operator_span(&self, binary: &Binary) -> Span {
        let bytes = self.text.as_bytes();
        let is_space = |at: u32| {
            bytes.get(at as usize).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
        };
        let mut start = binary.lhs.span().end;
        let mut end = binary.rhs.span().start.saturating_sub(1);
        while is_space(start) {
            start += 1;
        }
        while end > 0 && is_space(end) {
            end -= 1;
        }
        Span::new(start, end)
    }

    fn error(&mut self, span: Span, text: impl Into<String>) {
        self.errors.push(ParseError { span, text: text.into() });
    }
}

fn has_fill(matching: &VectorMatching) -> bool {
    matching.fill_left.is_some() || matching.fill_right.is_some()
}
