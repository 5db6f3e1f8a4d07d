//! Metrics in Prometheus's text format (0.0.4) whose series come and go, or that are read at the scrape.
//!
//! Invariant: a family appears once, with its type and its help text, also while it has no series. The recorder of all
//! other metrics never forgets a series.

use std::fmt::{Display, Write as _};

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It rises, and restarts at zero with the process.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// A family's name, its kind, and what it means in a sentence.
#[derive(Clone, Copy, Debug)]
pub struct Family(pub &'static str, pub Kind, pub &'static str);

impl Family {
    /// Appends the family with its series. The labels of each are as in the format, such as `queue="a"`: their values
    /// hold no `"`, no backslash and no line feed.
    pub fn write<L: AsRef<str>, V: Display>(
        self,
        text: &mut String,
        series: impl IntoIterator<Item = (L, V)>,
    ) {
        let Self(name, kind, help) = self;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in series {
            let _ = match labels.as_ref() {
                "" => writeln!(text, "{name} {value}"),
                labels => writeln!(text, "{name}{{{labels}}} {value}"),
            };
        }
        text.push('\n');
    }

    /// Appends the family with its only series, which has no labels.
    pub fn write_one(self, text: &mut String, value: impl Display) {
        self.write(text, [("", value)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_type_and_series() {
        let mut text = String::new();
        Family("a_total", Kind::Counter, "Help.")
            .write(&mut text, [("x=\"1\"", 2), ("x=\"2\"", 3)]);
        Family("b", Kind::Gauge, "More.").write_one(&mut text, 0.5);
        let expected = "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\n\n\
                        # HELP b More.\n# TYPE b gauge\nb 0.5\n\n";
        assert_eq!(text, expected);
    }
}
