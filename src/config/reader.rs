//! A parsed TOML document, read key by key: each fault is noted with its line and reading goes on.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::finding::Finding;

/// Most faults of one file that are told.
const FINDINGS_MAX: usize = 1000;

/// What reading has found so far: lines of keys, errors, warnings, and which keys the readers know.
pub(crate) struct Notes {
    file: PathBuf,
    /// Byte offset of each line's first byte.
    line_starts: Vec<usize>,
    lines: RefCell<BTreeMap<String, usize>>,
    errors: RefCell<Vec<Finding>>,
    warnings: RefCell<Vec<Finding>>,
    asked: RefCell<BTreeSet<String>>,
}

impl Notes {
    pub(crate) fn new(file: &Path, text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self {
            file: file.into(),
            line_starts: std::iter::once(0).chain(breaks).collect(),
            lines: RefCell::default(),
            errors: RefCell::default(),
            warnings: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    pub(crate) fn error(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.note(&self.errors, self.line(key), key, what.into(), remedy.into());
    }

    pub(crate) fn warn(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.note(&self.warnings, self.line(key), key, what.into(), remedy.into());
    }

    /// The document is no TOML from `offset` on: only what was found at keys before it can be believed, since what
    /// comes after may have been swallowed by the fault.
    pub(crate) fn broken_at(&self, offset: usize, message: &str) {
        let line = self.line_of(offset);
        let believed = |finding: &Finding| finding.line < line && self.lines.borrow().contains_key(&finding.key);
        self.errors.borrow_mut().retain(believed);
        self.note(
            &self.errors,
            line,
            "",
            format!("is not TOML: {message}"),
            "mend the syntax here or just before".into(),
        );
    }

    fn note(&self, list: &RefCell<Vec<Finding>>, line: usize, key: &str, what: String, remedy: String) {
        let mut list = list.borrow_mut();
        if list.len() < FINDINGS_MAX {
            list.push(Finding { file: self.file.clone(), line, key: key.into(), what, remedy });
        }
    }

    /// Whether `key`, or anything within it, has an error already: rules across keys then stay silent.
    pub(crate) fn faulty(&self, key: &str) -> bool {
        let within =
            |other: &str| other.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        self.errors.borrow().iter().any(|finding| within(&finding.key))
    }

    /// Whether anything is wrong so far.
    pub(crate) fn any_error(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// Line of `key`, else of the nearest thing around it that the file has.
    pub(crate) fn line(&self, key: &str) -> usize {
        let lines = self.lines.borrow();
        let mut key = key;
        loop {
            if let Some(line) = lines.get(key) {
                return *line;
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return 1,
            }
        }
    }

    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// The errors in line order, or the warnings in line order.
    pub(crate) fn verdict(self) -> Result<Vec<Finding>, Vec<Finding>> {
        let (mut errors, mut warnings) = (self.errors.into_inner(), self.warnings.into_inner());
        errors.sort_by_key(|finding| finding.line);
        warnings.sort_by_key(|finding| finding.line);
        if errors.is_empty() { Ok(warnings) } else { Err(errors) }
    }

    /// Every key that a reader has asked for, present or not.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }
}

/// A table of the document, and which of its keys have been asked for.
pub(crate) struct Table<'a> {
    /// Dotted path; empty for the document itself.
    path: String,
    /// The same without positions in lists of tables, as the commented sample has its keys.
    known: String,
    table: Option<&'a DeTable<'a>>,
    /// Whether the file may do without this table, and does: nothing of it is then missing.
    left_out: bool,
    notes: &'a Notes,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    pub(crate) fn root(table: &'a DeTable<'a>, notes: &'a Notes) -> Self {
        Self::of(String::new(), String::new(), Some(table), notes)
    }

    fn of(path: String, known: String, table: Option<&'a DeTable<'a>>, notes: &'a Notes) -> Self {
        Self { path, known, table, left_out: false, notes, asked: RefCell::default() }
    }

    /// Dotted path of the table itself.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Dotted path of `key` in this table.
    pub(crate) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }

    fn known(&self, key: &str) -> String {
        if self.known.is_empty() { key.to_string() } else { format!("{}.{key}", self.known) }
    }

    fn value(&self, key: &'static str) -> Option<Value<'a>> {
        self.asked.borrow_mut().push(key);
        let path = self.key(key);
        let (name, value) = self.table?.get_key_value(key)?;
        self.notes.lines.borrow_mut().insert(path.clone(), self.notes.line_of(name.span().start));
        Some(Value { path, value, notes: self.notes })
    }

    /// The value of `key` read by `read`; `None` when it is absent or faulty.
    pub(crate) fn optional<T>(&self, key: &'static str, read: impl FnOnce(&Value<'a>) -> Option<T>) -> Option<T> {
        self.notes.asked.borrow_mut().insert(self.known(key));
        self.value(key).and_then(|value| read(&value))
    }

    /// The value of `key` read by `read`, `default` when it is absent or faulty.
    pub(crate) fn or<T>(&self, key: &'static str, default: T, read: impl FnOnce(&Value<'a>) -> Option<T>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// As [`optional`](Self::optional), and an error when the key is absent.
    pub(crate) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Option<T> {
        if !self.has(key) && !self.left_out {
            self.notes.error(&self.key(key), "is missing", format!("write {key} = {example}"));
        }
        self.optional(key, read)
    }

    /// Whether the file has `key`, well or not.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// A table within this one; reads as empty when absent.
    pub(crate) fn section(&self, key: &'static str) -> Table<'a> {
        let empty = || Table::of(self.key(key), self.known(key), None, self.notes);
        Table { left_out: self.left_out, ..self.optional_section(key).unwrap_or_else(empty) }
    }

    /// A table within this one that stands for a role: when it is absent, so are all its keys, and none is missing.
    pub(crate) fn role(&self, key: &'static str) -> Table<'a> {
        Table { left_out: !self.has(key), ..self.section(key) }
    }

    /// Whether the file does without this table.
    pub(crate) fn is_left_out(&self) -> bool {
        self.left_out
    }

    /// A table within this one; `None` when absent.
    pub(crate) fn optional_section(&self, key: &'static str) -> Option<Table<'a>> {
        let table = self.value(key)?.table()?;
        Some(Table { known: self.known(key), ..table })
    }

    /// The tables written as `[[key]]`, in file order; none when absent.
    pub(crate) fn tables(&self, key: &'static str, count_max: usize) -> Vec<Table<'a>> {
        let known = self.known(key);
        let read = |element: &Value<'a>| Some(Table { known: known.clone(), ..element.table()? });
        self.value(key).and_then(|value| value.list(count_max, read)).unwrap_or_default()
    }

    /// Keys and values of a table whose keys are data.
    pub(crate) fn entries(&self) -> Vec<(String, Value<'a>)> {
        let entries = self.table.into_iter().flat_map(|table| table.iter());
        entries
            .map(|(name, value)| {
                let path = self.key(name.get_ref());
                self.notes.lines.borrow_mut().insert(path.clone(), self.notes.line_of(name.span().start));
                (name.get_ref().to_string(), Value { path, value, notes: self.notes })
            })
            .collect()
    }

    /// Refuses every key that nobody asked for. To be called when all keys have been read.
    pub(crate) fn close(self) {
        let asked = self.asked.borrow();
        for name in self.table.into_iter().flat_map(|table| table.keys()) {
            let unknown = name.get_ref().as_ref();
            if asked.contains(&unknown) {
                continue;
            }
            let near = asked.iter().map(|key| (distance(key, unknown), *key)).min();
            let remedy = match near {
                Some((distance, key)) if distance <= 2.max(unknown.len() / 4) => format!("did you mean {key}?"),
                _ => format!("known here: {}", asked.join(", ")),
            };
            let path = self.key(unknown);
            self.notes.lines.borrow_mut().insert(path.clone(), self.notes.line_of(name.span().start));
            self.notes.error(&path, "is no known key", remedy);
        }
    }
}

/// One value of the document.
pub(crate) struct Value<'a> {
    path: String,
    value: &'a Spanned<DeValue<'a>>,
    notes: &'a Notes,
}

impl<'a> Value<'a> {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn error<T>(&self, what: impl Into<String>, remedy: impl Into<String>) -> Option<T> {
        self.notes.error(&self.path, what, remedy);
        None
    }

    /// Whether the value, or anything within it, has an error already.
    pub(crate) fn faulty(&self) -> bool {
        self.notes.faulty(&self.path)
    }

    fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        self.error(format!("is of type {}", self.value.get_ref().type_str()), format!("write {wanted}"))
    }

    pub(crate) fn string(&self) -> Option<&'a str> {
        let text = self.value.get_ref().as_str();
        text.or_else(|| self.wrong_type("a string in quotes"))
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        self.value.get_ref().as_bool().or_else(|| self.wrong_type("true or false"))
    }

    /// An integer within `range`, in the unit that the key's name ends in.
    pub(crate) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let Some(integer) = self.value.get_ref().as_integer() else {
            return self.wrong_type("an integer without quotes");
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        match number.and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => self
                .error(format!("{integer} is out of bounds"), format!("choose {} to {}", range.start(), range.end())),
        }
    }

    /// A string parsed as `T`; `wanted` names the form with an example.
    pub(crate) fn parsed<T: FromStr>(&self, wanted: &str) -> Option<T> {
        let text = self.string()?;
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(_) => self.error(format!("{} is not {wanted}", quoted(text)), format!("write {wanted}")),
        }
    }

    /// Each element of an array read by `read`; faulty ones are noted and left out.
    pub(crate) fn list<T>(&self, count_max: usize, mut read: impl FnMut(&Value<'a>) -> Option<T>) -> Option<Vec<T>> {
        let Some(array) = self.value.get_ref().as_array() else {
            return self.wrong_type("a list in [ ]");
        };
        if array.len() > count_max {
            return self.error(format!("has {} entries", array.len()), format!("keep it to {count_max}"));
        }
        let element = |(at, value): (usize, &'a Spanned<DeValue<'a>>)| {
            let path = format!("{}[{at}]", self.path);
            self.notes.lines.borrow_mut().insert(path.clone(), self.notes.line_of(value.span().start));
            read(&Value { path, value, notes: self.notes })
        };
        Some(array.iter().enumerate().filter_map(element).collect())
    }

    /// As [`list`](Self::list), where one element may stand without `[ ]`.
    pub(crate) fn one_or_list<T>(
        &self,
        count_max: usize,
        mut read: impl FnMut(&Value<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        match self.value.get_ref().as_str() {
            Some(_) => Some(vec![read(self)?]),
            None => self.list(count_max, read),
        }
    }

    /// The table that this value is.
    pub(crate) fn table(&self) -> Option<Table<'a>> {
        match self.value.get_ref().as_table() {
            Some(table) => Some(Table::of(self.path.clone(), self.path.clone(), Some(table), self.notes)),
            None => self.wrong_type("a table"),
        }
    }
}

/// `text` in quotes, cut where it gets long, without control characters.
pub(crate) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().count() > 80 { format!("\"{shown}…\"") } else { format!("\"{shown}\"") }
}

/// Edits (insert, delete, replace a character) from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
