//! The frame of the HTML pages, and how text gets into them.

use std::fmt::{self, Display};

use axum::response::Html;

/// Links at the head of every page.
const LINKS: [(&str, &str); 6] = [
    ("targets", "Targets"),
    ("service-discovery", "Service discovery"),
    ("forwarders", "Forwarders"),
    ("config", "Configuration"),
    ("flags", "Flags"),
    ("status", "Status"),
];

const STYLE: &str = "\
body{font:14px/1.5 system-ui,sans-serif;margin:0;color:#1c2733;background:#fbfcfd}\
nav{background:#1c2733;padding:.6rem 1.5rem}nav a{color:#dfe7ef;margin-right:1.2rem;\
text-decoration:none}nav a:first-child{color:#fff;font-weight:600}main{padding:1rem 1.5rem}\
table{border-collapse:collapse;width:100%;background:#fff}th,td{text-align:left;padding:.3rem \
.6rem;border:1px solid #dde4ea;vertical-align:top}th{background:#eef2f6}pre{background:#fff;\
border:1px solid #dde4ea;padding:1rem;overflow:auto}.up{color:#0a7d38}.down{color:#c11b2f}\
.unknown{color:#7a8794}code{background:#eef2f6;padding:0 .25rem;margin-right:.25rem;\
white-space:nowrap}small{color:#5b6875}";

/// A page in the making. What is pushed as text is escaped.
pub(super) struct Page {
    html: String,
}

/// Text, with what HTML takes for its own escaped.
pub(super) struct Text<T>(pub(super) T);

// === impl Page ===

impl Page {
    /// A page with this title. Links start with `prefix`.
    pub(super) fn new(title: &str, prefix: &str) -> Page {
        let mut html = format!(
            "<!doctype html><html lang=en><meta charset=utf-8>\
             <meta name=viewport content='width=device-width'>\
             <title>{title} · rollcall</title><style>{STYLE}</style>\
             <nav><a href='{prefix}/'>rollcall</a>"
        );
        for (path, name) in LINKS {
            html.push_str(&format!("<a href='{prefix}/{path}'>{name}</a>"));
        }
        html.push_str(&format!("</nav><main><h1>{title}</h1>"));
        Page { html }
    }

    /// Appends HTML.
    pub(super) fn push(&mut self, html: impl Display) {
        use fmt::Write as _;
        write!(self.html, "{html}").expect("a String takes everything");
    }

    /// A table: its head, then rows of cells. Cells are HTML.
    pub(super) fn table<const N: usize>(
        &mut self,
        head: [&str; N],
        rows: impl Iterator<Item = [String; N]>,
    ) {
        self.push("<table><tr>");
        for name in head {
            self.push(format_args!("<th>{name}"));
        }
        for row in rows {
            self.push("<tr>");
            for cell in row {
                self.push(format_args!("<td>{cell}"));
            }
        }
        self.push("</table>");
    }

    /// The finished page.
    pub(super) fn done(mut self) -> Html<String> {
        self.html.push_str("</main></html>");
        Html(self.html)
    }
}

// === impl Text ===

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_html() {
        let text = Text("<script>alert('&\"')</script>").to_string();
        assert_eq!(text, "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;");
    }

    #[test]
    fn a_page_has_its_links_below_the_prefix() {
        let mut page = Page::new("Targets", "/roll");
        page.table(["A"], [[Text("1 < 2").to_string()]].into_iter());
        let html = page.done().0;
        assert!(html.contains("<a href='/roll/flags'>Flags</a>"), "{html}");
        assert!(html.contains("<table><tr><th>A<tr><td>1 &lt; 2</table>"), "{html}");
    }
}
