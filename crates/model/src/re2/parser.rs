//! The parser: one pass over the text with a stack of open groups, as in Go's `regexp/syntax`.

use regex_syntax::hir::{Capture, Class, ClassUnicode, ClassUnicodeRange, Hir, Look, Repetition};

use super::escape::{escape, perl_class, unicode_class};
use super::{MAX_NESTING, RegexError, class, syntax};

/// What becomes of groups.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Groups {
    /// They capture.
    Capture,
    /// They only group.
    Ignore,
}

/// The highest count of a repetition, also where repetitions nest.
const MAX_REPEAT: u32 = 1_000;

const MISSING_ARGUMENT: &str = "missing argument to repetition operator";
const INVALID_NAME: &str = "invalid named capture";
const INVALID_REPEAT_SIZE: &str = "invalid repeat count";

/// What `(?imsU)` sets.
#[expect(clippy::struct_excessive_bools, reason = "the language has these four")]
#[derive(Clone, Copy)]
pub(super) struct Flags {
    pub(super) fold_case: bool,
    multi_line: bool,
    dot_matches_newline: bool,
    swap_greed: bool,
}

/// A part of a concatenation.
struct Item {
    hir: Hir,
    /// The product of the counts of nested repetitions in it.
    repeats: u32,
}

/// A group whose end has not come yet; the outermost is the whole.
struct Open {
    /// The flags outside of it.
    outer_flags: Flags,
    /// Index and name, if it captures.
    capture: Option<(u32, Option<Box<str>>)>,
    alternatives: Vec<Hir>,
    items: Vec<Item>,
    repeats: u32,
}

struct Parser<'a> {
    whole: &'a str,
    groups: Groups,
    flags: Flags,
    open: Vec<Open>,
    captures: u32,
    names: Vec<&'a str>,
}

pub(super) fn parse(text: &str, groups: Groups) -> Result<Hir, RegexError> {
    let flags = Flags {
        fold_case: false,
        multi_line: false,
        // The matchers' default; `label_replace` sets it in its text.
        dot_matches_newline: groups == Groups::Ignore,
        swap_greed: false,
    };
    let outermost = Open {
        outer_flags: flags,
        capture: None,
        alternatives: Vec::new(),
        items: Vec::new(),
        repeats: 1,
    };
    let (open, names) = (vec![outermost], Vec::new());
    Parser { whole: text, groups, flags, open, captures: 0, names }.run()
}

impl<'a> Parser<'a> {
    fn run(mut self) -> Result<Hir, RegexError> {
        let mut rest = self.whole;
        // The text from the last repetition operator on, if nothing came after it.
        let mut last_repeat = None;
        while let Some(c) = rest.chars().next() {
            let before = rest;
            let mut repeat = None;
            rest = &rest[c.len_utf8()..];
            match c {
                '(' if rest.starts_with('?') => rest = self.perl_group(before)?,
                '(' => self.open_capture(None)?,
                '|' => self.end_alternative(),
                ')' => self.close_group()?,
                '^' if self.flags.multi_line => self.push(Hir::look(Look::StartLF)),
                '^' => self.push(Hir::look(Look::Start)),
                '$' if self.flags.multi_line => self.push(Hir::look(Look::EndLF)),
                '$' => self.push(Hir::look(Look::End)),
                '.' => self.push(any_char(self.flags.dot_matches_newline)),
                '[' => {
                    let (class, after) = class::parse(before, self.flags)?;
                    self.push(Hir::class(Class::Unicode(class)));
                    rest = after;
                }
                '*' | '+' | '?' => {
                    let (min, max) = match c {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    rest = self.repeat(min, max, before, rest, last_repeat)?;
                    repeat = Some(before);
                }
                '{' => match repeat_counts(rest) {
                    Some((min, max, after)) => {
                        let is_legal = |n: u32| n <= MAX_REPEAT;
                        if !is_legal(min) || max.is_some_and(|max| !is_legal(max) || max < min) {
                            let fragment = &before[..before.len() - after.len()];
                            return Err(syntax(INVALID_REPEAT_SIZE, fragment));
                        }
                        rest = self.repeat(min, max, before, after, last_repeat)?;
                        repeat = Some(before);
                    }
                    None => self.push_char(c),
                },
                '\\' => rest = self.backslash(before)?,
                c => self.push_char(c),
            }
            last_repeat = repeat;
        }
        self.finish()
    }

    fn finish(mut self) -> Result<Hir, RegexError> {
        if self.open.len() > 1 {
            return Err(syntax("missing closing )", self.whole));
        }
        self.end_alternative();
        let outermost = self.open.pop().expect("the outermost group stays open to the end");
        Ok(Hir::alternation(outermost.alternatives))
    }

    /// What starts with a backslash.
    fn backslash(&mut self, text: &'a str) -> Result<&'a str, RegexError> {
        let after = |length: usize| &text[length..];
        match text[1..].chars().next() {
            Some('A') => self.push(Hir::look(Look::Start)),
            Some('z') => self.push(Hir::look(Look::End)),
            Some('b') => self.push(Hir::look(Look::WordAscii)),
            Some('B') => self.push(Hir::look(Look::WordAsciiNegate)),
            Some('C') => return Err(syntax("invalid escape sequence", &text[..2])),
            Some('Q') => {
                let (quoted, rest) = after(2).split_once("\\E").unwrap_or((after(2), ""));
                for c in quoted.chars() {
                    self.push_char(c);
                }
                return Ok(rest);
            }
            _ => {
                let found = match unicode_class(text)? {
                    Some(found) => Some(found),
                    None => perl_class(text),
                };
                if let Some((mut class, rest)) = found {
                    if self.flags.fold_case {
                        fold(&mut class);
                    }
                    self.push(Hir::class(Class::Unicode(class)));
                    return Ok(rest);
                }
                let (code_point, rest) = escape(text)?;
                match char::from_u32(code_point) {
                    Some(c) => self.push_char(c),
                    // A surrogate, which no text has.
                    None => self.push(Hir::fail()),
                }
                return Ok(rest);
            }
        }
        Ok(after(2))
    }

    /// `(?:…)`, `(?flags)`, `(?flags:…)`, `(?P<name>…)` and `(?<name>…)`.
    fn perl_group(&mut self, text: &'a str) -> Result<&'a str, RegexError> {
        let name_at = if text.len() > 4 && text[2..].starts_with("P<") {
            4
        } else if text.len() > 3 && text[2..].starts_with('<') {
            3
        } else {
            return self.flag_group(text);
        };
        let end = text.find('>').ok_or_else(|| syntax(INVALID_NAME, text))?;
        let name = &text[name_at..end];
        if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
            return Err(syntax(INVALID_NAME, &text[..=end]));
        }
        self.open_capture(Some(name))?;
        Ok(&text[end + 1..])
    }

    fn flag_group(&mut self, text: &'a str) -> Result<&'a str, RegexError> {
        let mut flags = self.flags;
        let mut value = true;
        let mut seen = true;
        let mut rest = &text[2..];
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                'i' => flags.fold_case = value,
                'm' => flags.multi_line = value,
                's' => flags.dot_matches_newline = value,
                'U' => flags.swap_greed = value,
                '-' if value => {
                    value = false;
                    seen = false;
                    continue;
                }
                ':' if seen => {
                    self.open_group(None)?;
                    self.flags = flags;
                    return Ok(rest);
                }
                ')' if seen => {
                    self.flags = flags;
                    return Ok(rest);
                }
                _ => break,
            }
            seen = true;
        }
        let fragment = &text[..text.len() - rest.len()];
        Err(syntax("invalid or unsupported Perl syntax", fragment))
    }

    fn open_capture(&mut self, name: Option<&'a str>) -> Result<(), RegexError> {
        self.captures += 1;
        if self.groups == Groups::Ignore {
            return self.open_group(None);
        }
        let name = name.filter(|name| {
            !self.names.contains(name) && !name.starts_with(|c: char| c.is_ascii_digit())
        });
        self.names.extend(name);
        self.open_group(Some((self.captures, name.map(Into::into))))
    }

    fn open_group(&mut self, capture: Option<(u32, Option<Box<str>>)>) -> Result<(), RegexError> {
        if self.open.len() > MAX_NESTING as usize {
            return Err(syntax("expression nests too deeply", self.whole));
        }
        self.open.push(Open {
            outer_flags: self.flags,
            capture,
            alternatives: Vec::new(),
            items: Vec::new(),
            repeats: 1,
        });
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), RegexError> {
        if self.open.len() == 1 {
            return Err(syntax("unexpected )", self.whole));
        }
        self.end_alternative();
        let group = self.open.pop().expect("there are at least two");
        self.flags = group.outer_flags;
        let mut hir = Hir::alternation(group.alternatives);
        if let Some((index, name)) = group.capture {
            hir = Hir::capture(Capture { index, name, sub: Box::new(hir) });
        }
        self.innermost().items.push(Item { hir, repeats: group.repeats });
        Ok(())
    }

    fn end_alternative(&mut self) {
        let open = self.innermost();
        let items = std::mem::take(&mut open.items);
        let repeats = items.iter().map(|item| item.repeats).max().unwrap_or(1);
        open.repeats = open.repeats.max(repeats);
        open.alternatives.push(Hir::concat(items.into_iter().map(|item| item.hir).collect()));
    }

    /// Repeats the last item. `before` is the text from the operator on, `after` the text behind
    /// it.
    fn repeat(
        &mut self,
        min: u32,
        max: Option<u32>,
        before: &'a str,
        mut after: &'a str,
        last_repeat: Option<&'a str>,
    ) -> Result<&'a str, RegexError> {
        let mut greedy = !self.flags.swap_greed;
        if let Some(rest) = after.strip_prefix('?') {
            greedy = !greedy;
            after = rest;
        }
        if let Some(last) = last_repeat {
            let fragment = &last[..last.len() - after.len()];
            return Err(syntax("invalid nested repetition operator", fragment));
        }
        let fragment = &before[..before.len() - after.len()];
        let Some(item) = self.innermost().items.pop() else {
            return Err(syntax(MISSING_ARGUMENT, fragment));
        };
        // Only counts multiply; `*`, `+` and `?` cost nothing more.
        let is_counted = before.starts_with('{');
        let count = if is_counted { max.unwrap_or(min).max(1) } else { 1 };
        let repeats = item.repeats.saturating_mul(count);
        if is_counted && (min >= 2 || max.is_some_and(|max| max >= 2)) && repeats > MAX_REPEAT {
            return Err(syntax(INVALID_REPEAT_SIZE, fragment));
        }
        let hir = Hir::repetition(Repetition { min, max, greedy, sub: Box::new(item.hir) });
        self.innermost().items.push(Item { hir, repeats });
        Ok(after)
    }

    fn push_char(&mut self, c: char) {
        if self.flags.fold_case {
            let mut class = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
            fold(&mut class);
            self.push(Hir::class(Class::Unicode(class)));
        } else {
            self.push(Hir::literal(c.encode_utf8(&mut [0; 4]).as_bytes()));
        }
    }

    fn push(&mut self, hir: Hir) {
        self.innermost().items.push(Item { hir, repeats: 1 });
    }

    fn innermost(&mut self) -> &mut Open {
        self.open.last_mut().expect("the outermost group stays open to the end")
    }
}

/// Adds what differs only in case.
pub(super) fn fold(class: &mut ClassUnicode) {
    class.try_case_fold_simple().expect("the tables of cases are built in");
}

fn any_char(matches_newline: bool) -> Hir {
    let all = ClassUnicodeRange::new('\0', char::MAX);
    let mut class = ClassUnicode::new([all]);
    if !matches_newline {
        class.difference(&ClassUnicode::new([ClassUnicodeRange::new('\n', '\n')]));
    }
    Hir::class(Class::Unicode(class))
}

/// The counts of `n}`, `n,}` or `n,m}` and the text behind; `None` where a brace is just a brace.
fn repeat_counts(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (min, rest) = number(text)?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((min, Some(min), rest));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((min, None, rest));
    }
    let (max, rest) = number(rest)?;
    Some((min, Some(max), rest.strip_prefix('}')?))
}

/// A number without leading zeros; one that is too large is only that.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}
