//! The report as one page that loads nothing, runs nothing and prints.
//!
//! The order is that of the questions a reader has: what came out and may I quote it (head), what to beware of (warnings), the
//! results in the order of the report, and how to repeat them (set-up, files). Plots sit above the table with the same numbers.
//!
//! Plots carry fixed colours; the style sheet swaps them on dark screens by matching the attribute. On paper the page is light.

use std::io;

use super::File;
use super::model::{Figure, Headline, Item, Mood, Report, Section, Setting, Table};
use super::numbers::fixed;
use super::plots::{self, Ink};
use super::terminal::written;

/// The page as text. `files` are those that lie beside it.
///
/// # Errors
///
/// A plot that cannot be drawn.
pub fn page(report: &Report, files: &[File]) -> io::Result<String> {
    let title = if report.title.is_empty() { "Report" } else { &report.title };
    let mut body = head(report, title);
    body.push_str(&warnings(report));
    for section in &report.sections {
        body.push_str(&content(section)?);
    }
    body.push_str(&set_up(report));
    body.push_str(&links(files));
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{}{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escaped(title),
        include_str!("page.css"),
        plot_colours(),
    ))
}

/// Text made safe for HTML and for attributes in double quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Control characters are not allowed in HTML, and would only come from a broken name.
            c if c.is_control() && c != '\n' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// On dark screens, every colour of the plots by its dark twin.
fn plot_colours() -> String {
    let rules: Vec<String> = plots::inks()
        .map(|ink| {
            let (light, dark) = (ink.hex(), ink.dark);
            format!("  svg [stroke=\"{light}\"] {{ stroke: {dark} }}\n  svg [fill=\"{light}\"] {{ fill: {dark} }}\n  .key[data-ink=\"{light}\"] {{ background: {dark}; border-color: {dark} }}\n")
        })
        .collect();
    format!("@media screen and (prefers-color-scheme: dark) {{\n{}}}\n", rules.concat())
}

fn head(report: &Report, title: &str) -> String {
    let mut cards: Vec<String> = report.headlines.iter().map(card).collect();
    let validity = &report.validity;
    if validity.is_valid() {
        cards.push(card(&Headline::new("VALID", "the load was offered as asked", Mood::Good)));
    } else {
        cards.push(card(&Headline::new("INVALID", validity.reasons.join("; "), Mood::Bad)));
    }
    let line = |text: String| if text.is_empty() { text } else { format!("<p class=\"sub\">{text}</p>\n") };
    let mut facts = vec![format!("{} s", fixed(report.duration_s, 1))];
    if !report.started.is_empty() {
        facts.insert(0, escaped(&report.started));
    }
    facts.extend(report.seed.map(|seed| format!("seed {seed}")));
    let command = if report.command.is_empty() { String::new() } else { format!("<code>{}</code>", escaped(&report.command)) };
    format!(
        "<header>\n<h1>{}</h1>\n{}{}{}<div class=\"cards\">\n{}</div>\n</header>\n",
        escaped(title),
        line(escaped(&report.standard)),
        line(command),
        line(facts.join(" · ")),
        cards.concat(),
    )
}

fn card(headline: &Headline) -> String {
    let class = match headline.mood {
        Mood::Plain => "card",
        Mood::Good => "card good",
        Mood::Bad => "card bad",
    };
    format!("<div class=\"{class}\"><b>{}</b><span>{}</span></div>\n", escaped(&headline.value), escaped(&headline.what))
}

fn warnings(report: &Report) -> String {
    if report.warnings.is_empty() {
        return String::new();
    }
    let items: String = report.warnings.iter().map(|warning| format!("<li>{}</li>\n", with_code(&warning.to_string()))).collect();
    format!("<section class=\"warnings\">\n<h2>Before you quote these numbers</h2>\n<ul>\n{items}</ul>\n</section>\n")
}

/// Escaped, with what stands between backticks as code.
fn with_code(text: &str) -> String {
    let parts: Vec<String> = escaped(text).split('`').map(str::to_owned).collect();
    // An odd backtick opens nothing that is closed: leave such a text as it is.
    if parts.len().is_multiple_of(2) {
        return parts.join("`");
    }
    parts.iter().enumerate().map(|(i, part)| if i % 2 == 1 { format!("<code>{part}</code>") } else { part.clone() }).collect()
}

fn content(part: &Section) -> io::Result<String> {
    let mut html = String::new();
    for item in &part.items {
        html.push_str(&match item {
            Item::Note(text) => paragraph(text),
            Item::Table(rows) => [caption(&rows.title), table(rows)].concat(),
            Item::Figure(drawn) => figure(drawn)?,
        });
    }
    Ok(if html.is_empty() { html } else { section(&part.title, &html) })
}

fn set_up(report: &Report) -> String {
    let pairs = |settings: &[Setting]| {
        let rows: String =
            settings.iter().map(|s| format!("<tr><th>{}</th><td>{}</td></tr>\n", escaped(&s.key), escaped(&s.value))).collect();
        if rows.is_empty() { rows } else { format!("<table class=\"pairs\">\n{rows}</table>\n") }
    };
    let parts = [caption("Settings"), pairs(&report.settings), caption("Environment"), pairs(&report.machine.settings())];
    section("Set-up", &if report.settings.is_empty() { parts[2..].concat() } else { parts.concat() })
}

fn links(files: &[File]) -> String {
    if files.is_empty() {
        return String::new();
    }
    let items: String =
        files.iter().map(|file| format!("<li><a href=\"{0}\">{0}</a> {1}</li>\n", escaped(&file.name), escaped(&file.what))).collect();
    section("Files", &format!("<ul>\n{items}</ul>\n"))
}

fn section(title: &str, content: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{content}</section>\n", escaped(title))
}

fn caption(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<h3>{}</h3>\n", escaped(text)) }
}

fn paragraph(text: &str) -> String {
    format!("<p class=\"note\">{}</p>\n", escaped(text))
}

/// A plot with its title and legend, or a sentence where there is none.
fn figure(figure: &Figure) -> io::Result<String> {
    let Some(plot) = figure.plot.draw(&figure.title)? else {
        return Ok(if figure.otherwise.is_empty() { String::new() } else { paragraph(&figure.otherwise) });
    };
    let legend = legend(&figure.plot.legend());
    Ok(format!("<figure>\n<figcaption>{} {legend}</figcaption>\n{plot}</figure>\n", escaped(&figure.title)))
}

fn legend(keys: &[(Ink, String)]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let keys: String = keys
        .iter()
        .map(|(ink, name)| {
            let hex = ink.hex();
            format!("<span class=\"entry\"><i class=\"key\" data-ink=\"{hex}\" style=\"--ink:{hex}\"></i>{}</span>", escaped(name))
        })
        .collect();
    format!("<span class=\"legend\">{keys}</span>")
}

fn table(table: &Table) -> String {
    let class = |column: usize| if table.columns[column].text { "" } else { " class=\"n\"" };
    let head: String =
        table.columns.iter().enumerate().map(|(i, column)| format!("<th{}>{}</th>", class(i), escaped(&column.name))).collect();
    let body: String = table
        .rows
        .iter()
        .enumerate()
        .map(|(i, row)| {
            let cells: String =
                row.iter().enumerate().map(|(c, cell)| format!("<td{}>{}</td>", class(c), escaped(&written(cell, ", ")))).collect();
            let set_off = if table.total && i + 1 == table.rows.len() { " class=\"total\"" } else { "" };
            format!("<tr{set_off}>{cells}</tr>\n")
        })
        .collect();
    format!("<div class=\"wide\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n")
}
