//! A row of the report: a figure of agentbus, the one of a bare part, and the targets.

use serde::Serialize;

/// A target of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    AtMost(f64),
}

impl Bound {
    fn figure(self) -> f64 {
        let (Self::AtLeast(figure) | Self::AtMost(figure)) = self;
        figure
    }

    fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {}{unit}", format_figure(least)),
            Self::AtMost(most) => format!("≤ {}{unit}", format_figure(most)),
        }
    }
}

/// A row: agentbus compared with a bare part, and the targets.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The name of the item.
    pub item: &'static str,
    /// The measurement.
    pub what: String,
    /// The unit of both figures.
    pub unit: &'static str,
    /// The figure of the bare part, or of another measurement of agentbus to compare with.
    pub bare: Option<f64>,
    /// The figure of agentbus.
    pub agentbus: Option<f64>,
    /// `agentbus` divided by `bare`.
    pub ratio: Option<f64>,
    /// The target of `agentbus`.
    pub target: Option<Bound>,
    /// The target of `ratio`.
    pub target_ratio: Option<Bound>,
    /// Whether one of the two targets suffices.
    pub either: bool,
    /// `agentbus` divided by its target.
    pub of_target: Option<f64>,
    /// Whether the targets are met; `None` without targets.
    pub met: Option<bool>,
    /// Whether the item failed, other than by a server that was not given.
    pub failed: bool,
    /// Share of processor time that the host gave to other machines during the item (Linux: steal), 0 to 1.
    pub stolen: Option<f64>,
    /// Further text.
    pub note: String,
}

impl Row {
    /// The column titles of [`Self::cells`].
    pub const TITLES: &[&'static str] = &[
        "ITEM",
        "WHAT",
        "UNIT",
        "BARE",
        "AGENTBUS",
        "RATIO",
        "TARGET",
        "OF TARGET",
        "MET",
        "NOTE",
    ];

    /// A row with a figure of agentbus.
    #[must_use]
    pub fn new(what: impl Into<String>, unit: &'static str, agentbus: f64) -> Self {
        Self { what: what.into(), unit, agentbus: Some(agentbus), ..Self::default() }
    }

    /// A row with a figure of a bare part only.
    #[must_use]
    pub fn bare(what: impl Into<String>, unit: &'static str, bare: f64) -> Self {
        Self { what: what.into(), unit, bare: Some(bare), ..Self::default() }
    }

    /// Adds the figure to compare with.
    #[must_use]
    pub fn compared_with(self, bare: f64) -> Self {
        let ratio = self.agentbus.filter(|_| bare > 0.0).map(|ours| ours / bare);
        Self { bare: Some(bare), ratio, ..self }
    }

    /// Adds a target of the figure.
    #[must_use]
    pub fn target(self, bound: Bound) -> Self {
        let of_target = self.agentbus.map(|ours| ours / bound.figure());
        Self { target: Some(bound), of_target, ..self }
    }

    /// Adds a target of the ratio.
    #[must_use]
    pub fn target_ratio(self, bound: Bound) -> Self {
        Self { target_ratio: Some(bound), ..self }
    }

    /// One of the two targets suffices.
    #[must_use]
    pub fn either(self) -> Self {
        Self { either: true, ..self }
    }

    /// Adds a note.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Computes [`Self::met`].
    pub(super) fn evaluated(self) -> Self {
        let holds = |bound: Option<Bound>, figure: Option<f64>| {
            bound.map(|bound| figure.is_some_and(|figure| bound.holds(figure)))
        };
        let both = [holds(self.target, self.agentbus), holds(self.target_ratio, self.ratio)];
        let mut checks = both.into_iter().flatten().peekable();
        let met = checks.peek().is_some().then(|| match self.either {
            true => checks.any(|holds| holds),
            false => checks.all(|holds| holds),
        });
        Self { met, ..self }
    }

    /// The cells as text, in the order of [`Self::TITLES`].
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        let figure = |figure: Option<f64>| figure.map_or_else(String::new, format_figure);
        let bounds = [
            self.target.map(|bound| bound.text("")),
            self.target_ratio.map(|bound| bound.text(" ×")),
        ];
        let between = if self.either { " or " } else { ", " };
        let target: Vec<String> = bounds.into_iter().flatten().collect();
        let met = match self.met {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        vec![
            self.item.to_owned(),
            self.what.clone(),
            self.unit.to_owned(),
            figure(self.bare),
            figure(self.agentbus),
            self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            target.join(between),
            self.of_target.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            met.to_owned(),
            self.note.clone(),
        ]
    }
}

/// A figure with thousands separators and no decimals from 100 on, one from 10 on, two below.
fn format_figure(figure: f64) -> String {
    let places = match figure.abs() {
        from_hundred if from_hundred >= 100.0 => 0,
        from_ten if from_ten >= 10.0 => 1,
        _ => 2,
    };
    let plain = format!("{figure:.places$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && grouped != "-" {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_must_meet_all_targets_or_either() {
        let row = || Row::new("x", "/s", 80.0).compared_with(100.0);
        assert_eq!(row().evaluated().met, None);
        let both = row().target(Bound::AtLeast(70.0)).target_ratio(Bound::AtLeast(0.9));
        assert_eq!(both.clone().evaluated().met, Some(false));
        assert_eq!(both.either().evaluated().met, Some(true));
        assert_eq!(row().target(Bound::AtMost(80.0)).evaluated().met, Some(true));
        let missing = Row::bare("x", "/s", 1.0).target(Bound::AtLeast(1.0)).evaluated();
        assert_eq!(missing.met, Some(false));
    }

    #[test]
    fn figures_are_rounded_and_grouped() {
        let texts = [0.285, 12.34, 999.6, 1_234_567.0].map(format_figure);
        assert_eq!(texts, ["0.28", "12.3", "1,000", "1,234,567"]);
    }
}
