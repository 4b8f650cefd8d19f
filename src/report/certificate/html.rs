//! The certificate as one HTML file that prints on A4: no scripts, nothing from elsewhere, headings and tables that a screen reader can follow.

use super::{Certificate, DatasetLine, MethodLine, RuleLine};
use crate::report::markup::{html, markup};
use crate::report::words::{self, number};
use crate::report::{bytes, count};

/// Plain on paper; wide tables may not push anything off the page.
const STYLE: &str = "
@page { size: A4; margin: 18mm 17mm 20mm; @bottom-left { content: 'Certificate of destruction'; font: 8pt sans-serif; color: #555 } \
@bottom-right { content: 'page ' counter(page) ' of ' counter(pages); font: 8pt sans-serif; color: #555 } }
html { font: 10pt/1.4 'Liberation Sans', Arial, 'DejaVu Sans', sans-serif; color: #111; background: #fff }
body { max-width: 176mm; margin: 0 auto }
header { border-bottom: 1.5pt solid #111; padding-bottom: 3mm; margin-bottom: 5mm }
h1 { font-size: 21pt; line-height: 1.15; margin: 0 0 2mm; letter-spacing: -0.2pt }
h2 { font-size: 12.5pt; margin: 7mm 0 2mm; break-after: avoid }
p { margin: 0 0 2.5mm }
header p { margin: 0 }
.statement { font-size: 12pt; line-height: 1.45; margin-bottom: 4mm }
table { border-collapse: collapse; width: 100%; margin: 0 0 3mm; font-size: 9pt }
caption { text-align: left; color: #444; padding-bottom: 1mm; font-size: 9pt }
thead { display: table-header-group }
tr { break-inside: avoid }
th, td { text-align: left; vertical-align: top; padding: 1.2mm 2mm; border-bottom: 0.4pt solid #aaa; overflow-wrap: break-word }
th:first-child, td:first-child { padding-left: 0 }
th:last-child, td:last-child { padding-right: 0 }
thead th { border-bottom: 1pt solid #111; font-weight: 600; overflow-wrap: normal }
tbody th { font-weight: 600 }
tfoot td, tfoot th { border-bottom: 0; border-top: 1pt solid #111; font-weight: 600 }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.quiet { color: #444; font-weight: 400 }
dl { display: grid; grid-template-columns: 42mm minmax(0, 1fr); gap: 0.8mm 3mm; margin: 0 0 3mm }
dt { color: #444 }
dd { margin: 0; overflow-wrap: anywhere }
code, pre { font: 8.5pt/1.4 'Liberation Mono', 'DejaVu Sans Mono', monospace; overflow-wrap: anywhere }
pre { border-left: 2pt solid #999; padding: 1mm 3mm; margin: 0 0 3mm; white-space: pre-wrap; break-inside: avoid }
ul, ol { margin: 0 0 2.5mm; padding-left: 5mm }
li { margin-bottom: 0.8mm }
.sign { break-inside: avoid; margin-top: 9mm; display: grid; grid-template-columns: 1fr 1fr 38mm; gap: 0 6mm }
.sign div { border-top: 0.6pt solid #111; padding-top: 1mm; margin-top: 13mm; font-size: 9pt; color: #444 }
@media screen { body { padding: 12mm 6mm } }
";

impl Certificate {
    /// The certificate as an HTML file.
    pub fn html(&self) -> String {
        let mut out = String::with_capacity(16 << 10);
        let title = format!("Certificate of destruction, {}, {}", self.verification.origin, self.about.shown());
        out.push_str("<!DOCTYPE html>\n<html lang=\"en-GB\">\n<head>\n<meta charset=\"utf-8\">\n");
        out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        out.push_str(&format!("<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n", html(&title)));
        self.head(&mut out);
        out.push_str("<main>\n");
        self.statement(&mut out);
        self.what(&mut out);
        self.how(&mut out);
        self.exceptions(&mut out);
        self.decisions(&mut out);
        self.rules(&mut out);
        self.backups(&mut out);
        self.evidence(&mut out);
        out.push_str("</main>\n<footer class=\"sign\" role=\"group\" aria-label=\"Signature\">\n<div>Signature</div><div>Name and position</div><div>Date</div>\n</footer>\n</body>\n</html>\n");
        out
    }

    fn head(&self, out: &mut String) {
        let organisation = self.organisation.as_deref().map(|name| format!("<p><strong>{}</strong></p>\n", html(name))).unwrap_or_default();
        out.push_str(&format!(
            "<header>\n{organisation}<h1>Certificate of destruction</h1>\n<p>{}</p>\n<p class=\"quiet\">Audit log {}. Made {}.</p>\n</header>\n",
            html(&self.about.shown()),
            html(&self.verification.origin),
            html(&self.made),
        ));
    }

    fn statement(&self, out: &mut String) {
        let gone = match self.gone() {
            0 => "no record was destroyed".to_owned(),
            1 => "1 record was destroyed".to_owned(),
            many => format!("{} records were destroyed", number(many)),
        };
        let size = if self.bytes > 0 { format!(" ({})", bytes(self.bytes)) } else { String::new() };
        let anonymised = match self.anonymised {
            0 => String::new(),
            1 => ", and 1 record was anonymised".to_owned(),
            many => format!(", and {} records were anonymised", number(many)),
        };
        let when = match (&self.first_at, &self.last_at) {
            (Some(first), Some(last)) if self.gone() + self.anonymised > 0 => match (day_of(first), day_of(last)) {
                (first, last) if first == last => format!(" on {first} (UTC)"),
                (first, last) => format!(" between {first} and {last} (UTC)"),
            },
            _ => " in what this certificate covers".to_owned(),
        };
        let under = if self.gone() + self.anonymised > 0 { ", under the rules listed below" } else { "" };
        out.push_str(&format!("<p class=\"statement\">This certifies that {gone}{size}{anonymised}{when}{under}.</p>\n"));
        let exceptions: u64 = self.exceptions.iter().map(|line| line.records).sum();
        out.push_str(&format!(
            "<p>It was made from {} signed entries of the audit log, which was verified and found <strong>intact</strong>. {} {}</p>\n",
            number(self.verification.size),
            match exceptions {
                0 => "No record was an exception.".to_owned(),
                1 => "1 record was an exception and is listed below.".to_owned(),
                many => format!("{} records were exceptions and are listed below.", number(many)),
            },
            match self.verification.open_intents {
                0 => "Every destruction that the log announces has its outcome there.".to_owned(),
                open => format!(
                    "For {} that the log announces no outcome is there yet: the next run looks what became of them.",
                    count(open, "record")
                ),
            }
        ));
    }

    fn what(&self, out: &mut String) {
        out.push_str("<h2>What was destroyed, and under which rule</h2>\n");
        if self.rules.is_empty() {
            out.push_str("<p>Nothing.</p>\n");
            return;
        }
        let anonymised = self.anonymised > 0;
        let found_gone = self.found_gone > 0;
        let optional = |show: bool, cell: String| if show { cell } else { String::new() };
        out.push_str("<table>\n<thead><tr><th scope=\"col\">Class of records</th><th scope=\"col\">Rule</th><th scope=\"col\">Where</th><th scope=\"col\">Events</th><th scope=\"col\" class=\"n\">Destroyed</th>");
        out.push_str(&optional(found_gone, "<th scope=\"col\" class=\"n\">Found gone</th>".into()));
        out.push_str(&optional(anonymised, "<th scope=\"col\" class=\"n\">Anonymised</th>".into()));
        out.push_str("<th scope=\"col\" class=\"n\">Size</th></tr></thead>\n<tbody>\n");
        for line in &self.rules {
            let class = if line.class.is_empty() { "not known" } else { &line.class };
            let title = line.title.as_deref().map(|title| format!("{}<br>", html(title))).unwrap_or_default();
            out.push_str(&format!(
                "<tr><th scope=\"row\">{title}<span class=\"quiet\">{}</span></th><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td>{}{}<td class=\"n\">{}</td></tr>\n",
                name(class),
                rule(line),
                name(&line.dataset),
                events(line),
                number(line.destroyed),
                optional(found_gone, format!("<td class=\"n\">{}</td>", number(line.found_gone))),
                optional(anonymised, format!("<td class=\"n\">{}</td>", number(line.anonymised))),
                bytes(line.bytes),
            ));
        }
        out.push_str(&format!(
            "</tbody>\n<tfoot><tr><th scope=\"row\" colspan=\"4\">Together</th><td class=\"n\">{}</td>{}{}<td class=\"n\">{}</td></tr></tfoot>\n</table>\n",
            number(self.destroyed),
            optional(found_gone, format!("<td class=\"n\">{}</td>", number(self.found_gone))),
            optional(anonymised, format!("<td class=\"n\">{}</td>", number(self.anonymised))),
            bytes(self.bytes),
        ));
        if found_gone {
            out.push_str("<p class=\"quiet\">Found gone: the destruction was announced in the log, then interrupted, and a later look found the record gone.</p>\n");
        }
    }

    fn how(&self, out: &mut String) {
        if self.methods.is_empty() {
            return;
        }
        out.push_str("<h2>How thoroughly</h2>\n<table>\n<thead><tr><th scope=\"col\">Method and grade</th><th scope=\"col\">What that means</th><th scope=\"col\" class=\"n\">Records</th><th scope=\"col\" class=\"n\">Looked after</th></tr></thead>\n<tbody>\n");
        for line in &self.methods {
            out.push_str(&format!(
                "<tr><th scope=\"row\">{}<br><span class=\"quiet\">{}</span></th><td>{}{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
                html(&line.grade),
                html(&line.method),
                html(line.meaning),
                caveats(line),
                number(line.records),
                number(line.verified),
            ));
        }
        out.push_str("</tbody>\n</table>\n<p class=\"quiet\">Looked after: the store was asked again and the record was gone. No grade reaches backups, snapshots, copies that people made, or what a disk keeps to itself.</p>\n");
    }

    fn exceptions(&self, out: &mut String) {
        out.push_str("<h2>Exceptions</h2>\n");
        if self.exceptions.is_empty() {
            out.push_str("<p>Every record that was announced went.</p>\n");
        } else {
            out.push_str("<table>\n<caption>Records that were announced and did not go as announced</caption>\n<thead><tr><th scope=\"col\">What</th><th scope=\"col\">Where</th><th scope=\"col\">Why</th><th scope=\"col\" class=\"n\">Records</th></tr></thead>\n<tbody>\n");
            for line in &self.exceptions {
                let why = if line.meaning.is_empty() { html(&line.why) } else { format!("{}: {}", html(&line.why), html(line.meaning)) };
                out.push_str(&format!(
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td>{why}</td><td class=\"n\">{}</td></tr>\n",
                    html(line.what),
                    name(&line.dataset),
                    number(line.records)
                ));
            }
            out.push_str("</tbody>\n</table>\n");
        }
        if self.datasets.is_empty() {
            return;
        }
        out.push_str("<table>\n<caption>Runs, and what stayed as the last of them saw it</caption>\n<thead><tr><th scope=\"col\">Where</th><th scope=\"col\">Runs</th><th scope=\"col\" class=\"n\">Records seen</th><th scope=\"col\" class=\"n\">Held</th><th scope=\"col\" class=\"n\">Undetermined</th><th scope=\"col\" class=\"n\">Overdue</th></tr></thead>\n<tbody>\n");
        for line in &self.datasets {
            let cells = line.last.as_ref().map_or_else(
                || "<td class=\"n\">not seen</td><td></td><td></td><td></td>".to_owned(),
                |last| {
                    [last.population, last.held, last.undetermined, last.overdue]
                        .map(|n| format!("<td class=\"n\">{}</td>", number(n)))
                        .concat()
                },
            );
            out.push_str(&format!("<tr><th scope=\"row\">{}</th><td>{}</td>{cells}</tr>\n", name(&line.dataset), runs(line)));
        }
        out.push_str("</tbody>\n</table>\n<p class=\"quiet\">Undetermined: kept because something, such as a date, could not be told. Overdue: still there past the ceiling of the schedule.</p>\n");
    }

    fn decisions(&self, out: &mut String) {
        out.push_str("<h2>Approvals and allowances</h2>\n");
        if self.decisions.is_empty() {
            out.push_str("<p>No person had to approve or allow anything.</p>\n");
            return;
        }
        out.push_str("<table>\n<thead><tr><th scope=\"col\">Who</th><th scope=\"col\">What</th><th scope=\"col\">Where</th><th scope=\"col\">When</th><th scope=\"col\" class=\"n\">Records</th></tr></thead>\n<tbody>\n");
        for line in &self.decisions {
            let what = match line.kind {
                "allowed" => format!("allowed plan {}, which is over its limits", line.plan),
                "approved" => format!("approved the records of the review batch {}", line.plan),
                "review-refused" => format!("refused the records of the review batch {}, which are kept", line.plan),
                "review-extended" => format!("extended the keeping of the review batch {}", line.plan),
                "review-withdrawn" => format!("took back what was decided about the review batch {}", line.plan),
                "erasure-decided" => format!("decided on the request for erasure {}, because of which records went", line.plan),
                other => format!("{other} {}", line.plan),
            };
            out.push_str(&format!(
                "<tr><th scope=\"row\">{}</th><td>{} <span class=\"quiet\">(entry {})</span></td><td>{}</td><td>{}</td><td class=\"n\">{}</td></tr>\n",
                html(&line.person),
                html(what.trim_end()),
                line.entry,
                name(&line.dataset),
                moment(&line.at),
                number(line.records)
            ));
        }
        out.push_str("</tbody>\n</table>\n");
        if self.more_decisions > 0 {
            out.push_str(&format!("<p>And {} more, which the log holds.</p>\n", number(self.more_decisions)));
        }
    }

    fn rules(&self, out: &mut String) {
        if self.schedules.is_empty() {
            return;
        }
        out.push_str("<h2>Schedules in force</h2>\n");
        for line in &self.schedules {
            let title = if line.title.is_empty() { &line.id } else { &line.title };
            out.push_str(&format!("<dl>\n<dt>Schedule</dt><dd>{} ({})</dd>\n", html(title), html(&line.id)));
            if let Some(owner) = &line.owner {
                out.push_str(&format!("<dt>Owner</dt><dd>{}</dd>\n", html(owner)));
            }
            if let Some(approved) = &line.approved {
                out.push_str(&format!("<dt>Approved</dt><dd>{}</dd>\n", html(&date(approved))));
            }
            out.push_str(&format!(
                "<dt>In the log since</dt><dd>{} (entry {}, in full)</dd>\n<dt>SHA-256 of its text</dt><dd><code>{}</code></dd>\n</dl>\n",
                moment(&line.since),
                line.entry,
                html(&line.sha256)
            ));
        }
    }

    fn backups(&self, out: &mut String) {
        if self.backups.is_empty() {
            return;
        }
        out.push_str("<h2>Backups</h2>\n<ul>\n");
        for line in &self.backups {
            let dated = line.beyond_use_until.as_deref().map(|day| {
                let records = count(line.records, "record");
                format!("the last backup that may hold one of {records} has aged out after <strong>{}</strong>", html(&date(day)))
            });
            let undated = (line.records_without_date > 0)
                .then(|| format!("for {} nobody has said how long backups are kept", count(line.records_without_date, "record")));
            let parts: Vec<String> = dated.into_iter().chain(undated).collect();
            out.push_str(&format!("<li>{}: {}.</li>\n", html(&line.store), parts.join("; ")));
        }
        out.push_str("</ul>\n");
    }

    fn evidence(&self, out: &mut String) {
        let evidence = &self.verification;
        out.push_str("<h2>Evidence</h2>\n<dl>\n");
        let programs = self.programs.iter().cloned().collect::<Vec<_>>().join(", ");
        let (first, last) = (evidence.log_first_at.as_deref().unwrap_or_default(), evidence.log_last_at.as_deref().unwrap_or_default());
        out.push_str(&format!(
            "<dt>Verification</dt><dd>intact: signature, all {} entries, hash tree, and outcomes for every intent{}</dd>\n",
            number(evidence.size),
            if evidence.open_intents > 0 { format!(" but {}", number(evidence.open_intents)) } else { String::new() }
        ));
        out.push_str(&format!("<dt>Entries from and to</dt><dd>{} and {}</dd>\n", moment(first), moment(last)));
        if evidence.unpublished > 0 {
            let later = if evidence.unpublished == 1 {
                "1 later entry".to_owned()
            } else {
                format!("{} later entries", number(evidence.unpublished))
            };
            out.push_str(&format!("<dt>Not covered yet</dt><dd>{later} that no checkpoint covers; nothing of them is in here</dd>\n"));
        }
        if !programs.is_empty() {
            out.push_str(&format!("<dt>Carried out by</dt><dd>{}</dd>\n", html(&programs)));
        }
        out.push_str(&format!("<dt>Key of the log</dt><dd><code>{}</code></dd>\n</dl>\n", html(&evidence.key)));
        out.push_str("<p>The checkpoint that covers every entry counted here: the log's name, its number of entries, the root of its hash tree, and the signature.</p>\n");
        let note: Vec<String> = evidence.checkpoint.trim_end().lines().map(html).collect();
        out.push_str(&format!("<pre>{}</pre>\n", note.join("\n")));
        out.push_str("<h2>How to verify this</h2>\n<p>Get a copy of the log's folder, and its key from somebody else than whoever gave you the copy. The key must be the one above.</p>\n<ol>\n");
        out.push_str("<li>With this program, offline: <code>retentiond audit verify --log COPY --key log.vkey</code>, then <code>retentiond report certificate --log COPY --key log.vkey");
        out.push_str(&markup(&self.options()));
        out.push_str("</code> makes this certificate again.</li>\n");
        out.push_str("<li>With programs that this project did not write: the log is in the public formats <a href=\"https://c2sp.org/tlog-tiles\">c2sp.org/tlog-tiles</a>, <a href=\"https://c2sp.org/tlog-checkpoint\">tlog-checkpoint</a> and <a href=\"https://c2sp.org/signed-note\">signed-note</a>, with the hashes of RFC 6962. Go's packages <code>golang.org/x/mod/sumdb/note</code> and <code>tlog</code> read them.</li>\n");
        out.push_str("<li>The signature alone, with OpenSSL 3. Save the checkpoint above as <code>checkpoint</code>:</li>\n</ol>\n");
        out.push_str(&format!("<pre>{}</pre>\n", markup(&self.openssl())));
        out.push_str("<p class=\"quiet\">This shows that no entry was changed, removed or put in between. That nobody put an older copy of the whole log in its place, only checkpoints kept elsewhere can show: a later log must contain this one.</p>\n");
    }

    /// The words that make this certificate again.
    fn options(&self) -> String {
        let mut out = String::new();
        let about = &self.about;
        let quoted = |text: &str| {
            let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b));
            if plain { text.to_owned() } else { format!("'{}'", crate::error::escape(text.as_bytes()).replace('\'', "'\\''")) }
        };
        for (word, value) in
            [("run", about.run.clone()), ("from", about.from.map(|day| day.to_string())), ("to", about.to.map(|day| day.to_string()))]
        {
            out.push_str(&value.map(|value| format!(" --{word} {}", quoted(&value))).unwrap_or_default());
        }
        about.classes.iter().for_each(|class| out.push_str(&format!(" --class {}", quoted(class))));
        out
    }

    /// How OpenSSL checks the signature.
    fn openssl(&self) -> String {
        let key = self.verification.key.splitn(3, '+').nth(2).unwrap_or_default();
        // People paste this into a shell; a name that means something there is left for them to fill in.
        let plain = |text: &&str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
        let origin = Some(self.verification.origin.as_str()).filter(plain).unwrap_or("NAME");
        format!(
            "{{ printf '302a300506032b6570032100' | xxd -r -p; echo '{key}' | base64 -d | tail -c 32; }} > key\n\
             grep '^\u{2014} {origin} ' checkpoint | cut -d' ' -f3 | base64 -d | tail -c 64 > signature\n\
             head -n 3 checkpoint > text\n\
             openssl pkeyutl -verify -pubin -keyform DER -inkey key -rawin -in text -sigfile signature"
        )
    }
}

/// The rule in words.
fn rule(line: &RuleLine) -> String {
    let Some(keep) = &line.keep else {
        return "<span class=\"quiet\">not known</span>".to_owned();
    };
    let then = line.then.as_deref().map(|then| format!(", then {}", html(then))).unwrap_or_default();
    let authority = line.authority.as_deref().map(|text| format!("<br><span class=\"quiet\">Authority: {}</span>", html(text)));
    let source = line.source.as_deref().map(|text| format!("<br><span class=\"quiet\">Published as: {}</span>", html(text)));
    format!("Keep {}{then}{}{}", html(keep), authority.unwrap_or_default(), source.unwrap_or_default())
}

/// From the oldest to the newest event.
fn events(line: &RuleLine) -> String {
    match (&line.oldest_event, &line.newest_event) {
        (Some(oldest), Some(newest)) if oldest == newest => html(&date(oldest)),
        (Some(oldest), Some(newest)) => format!("{} to {}", html(&date(oldest)), html(&date(newest))),
        _ => "not known".to_owned(),
    }
}

fn caveats(line: &MethodLine) -> String {
    if line.caveats.is_empty() {
        return String::new();
    }
    let all = |records: u64| if records == line.records { String::new() } else { format!(" ({})", number(records)) };
    let items = line.caveats.iter().map(|one| {
        let text = if one.meaning.is_empty() { html(&one.caveat) } else { html(one.meaning) };
        format!("<li>{text}{}</li>", all(one.records))
    });
    format!("<ul class=\"quiet\">{}</ul>", items.collect::<String>())
}

fn runs(line: &DatasetLine) -> String {
    let parts = line.runs.iter().map(|(end, times)| {
        let meaning = words::end(end);
        format!("{} {}", number(*times), if meaning.is_empty() { html(end) } else { html(meaning) })
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// An instant of the log as people read it; what is none stays as it is.
fn moment(at: &str) -> String {
    let read = at.parse::<jiff::Timestamp>();
    read.map_or_else(|_| html(at), |at| at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%-d %B %Y, %H:%M:%S UTC").to_string())
}

/// The day of an instant of the log as people read it.
fn day_of(at: &str) -> String {
    let read = at.parse::<jiff::Timestamp>();
    read.map_or_else(|_| html(at), |at| crate::report::selection::day(at.to_zoned(jiff::tz::TimeZone::UTC).date()))
}

/// The name of a place or a class, which may break behind its parts.
fn name(text: &str) -> String {
    html(text).replace('/', "/<wbr>").replace('.', ".<wbr>")
}

/// A date of the log as people read it; what is none stays as it is.
fn date(text: &str) -> String {
    text.parse::<jiff::civil::Date>().map_or_else(|_| text.to_owned(), crate::report::selection::day)
}
