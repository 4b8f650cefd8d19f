//! Text from outside in documents: HTML that shows it, and CSV that a spreadsheet does not carry out.

use crate::error::escape;

/// Text for HTML, within an element or an attribute in double quotes. Characters that steer a terminal or the direction of writing are shown, not
/// obeyed.
pub(super) fn html(text: &str) -> String {
    markup(&escape(text.as_bytes()))
}

/// Text for HTML that is ours, or whose every character counts; only the markup in it is disarmed.
pub(super) fn markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A cell of a CSV file (RFC 4180), always in quotes. A spreadsheet takes a cell that begins with one of `= + - @` for a formula, which may call
/// programs or send the sheet away, so such a cell gets an apostrophe in front; so does one that begins with a tab or a line break, which some skip.
pub(super) fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    let apostrophe = if formula { "'" } else { "" };
    format!("\"{apostrophe}{}\"", escape(text.as_bytes()).replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_control_characters_are_shown_and_not_obeyed() {
        assert_eq!(html("<script>\"a\" & 'b'"), "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;");
        assert_eq!(html("a\u{202e}b\u{1b}[2J\n"), "a\\u{202e}b\\u{1b}[2J\\n");
    }

    #[test]
    fn a_cell_is_never_a_formula_and_never_two_cells() {
        for (text, cell) in [
            ("plain", "\"plain\""),
            ("", "\"\""),
            ("=1+1", "\"'=1+1\""),
            ("+cmd|' /C calc'!A0", "\"'+cmd|' /C calc'!A0\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\\t=1\""),
            ("\r\n=1", "\"'\\r\\n=1\""),
            ("\u{ff1d}1", "\"'\u{ff1d}1\""),
            ("a\",\"b\n=c", "\"a\"\",\"\"b\\n=c\""),
        ] {
            assert_eq!(super::cell(text), cell, "{text:?}");
        }
    }
}
