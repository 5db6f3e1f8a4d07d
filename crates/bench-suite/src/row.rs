//! One line of the report: a figure of agentbus beside that of a bare part, and what it should be.

use serde::Serialize;

/// A target.
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
            Self::AtLeast(least) => format!("≥ {}{unit}", short(least)),
            Self::AtMost(most) => format!("≤ {}{unit}", short(most)),
        }
    }
}

/// One line: agentbus beside the bare part, and what is to be reached.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The item it belongs to.
    pub item: &'static str,
    /// What was measured.
    pub what: String,
    /// The unit of both figures.
    pub unit: &'static str,
    /// The bare part's figure, or what else agentbus is compared with.
    pub bare: Option<f64>,
    /// agentbus's.
    pub agentbus: Option<f64>,
    /// The second by the first.
    pub ratio: Option<f64>,
    /// What agentbus's figure should be.
    pub reach: Option<Bound>,
    /// What the ratio should be.
    pub share: Option<Bound>,
    /// Whether one of the two is enough.
    pub either: bool,
    /// agentbus's figure by what it should be: where more is better, from 1 on; else, up to 1.
    pub of_reach: Option<f64>,
    /// Whether that is so; `None` where nothing is asked for.
    pub met: Option<bool>,
    /// Whether the item could not be measured, though all it needs was given.
    pub failed: bool,
    /// Share of the machine's processor time that its host gave to other machines while the item was measured, 0 to 1.
    pub stolen: Option<f64>,
    /// More about it, in words.
    pub note: String,
}

impl Row {
    /// The titles over [`Self::cells`].
    pub const TITLES: &[&'static str] =
        &["ITEM", "WHAT", "UNIT", "BARE", "AGENTBUS", "RATIO", "REACH", "OF IT", "MET", "NOTE"];

    /// A figure of agentbus.
    #[must_use]
    pub fn new(what: impl Into<String>, unit: &'static str, agentbus: f64) -> Self {
        Self { what: what.into(), unit, agentbus: Some(agentbus), ..Self::default() }
    }

    /// A figure of a bare part alone.
    #[must_use]
    pub fn bare(what: impl Into<String>, unit: &'static str, bare: f64) -> Self {
        Self { what: what.into(), unit, bare: Some(bare), ..Self::default() }
    }

    /// Beside that of the bare part.
    #[must_use]
    pub fn beside(self, bare: f64) -> Self {
        let ratio = self.agentbus.filter(|_| bare > 0.0).map(|ours| ours / bare);
        Self { bare: Some(bare), ratio, ..self }
    }

    /// What the figure should be.
    #[must_use]
    pub fn reach(self, bound: Bound) -> Self {
        let of_reach = self.agentbus.map(|ours| ours / bound.figure());
        Self { reach: Some(bound), of_reach, ..self }
    }

    /// What the ratio should be.
    #[must_use]
    pub fn share(self, bound: Bound) -> Self {
        Self { share: Some(bound), ..self }
    }

    /// That one of the two is enough.
    #[must_use]
    pub fn either(self) -> Self {
        Self { either: true, ..self }
    }

    /// Words beside it.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// The same, with [`Self::met`] computed.
    pub(super) fn judged(self) -> Self {
        let holds = |bound: Option<Bound>, figure: Option<f64>| {
            bound.map(|bound| figure.is_some_and(|figure| bound.holds(figure)))
        };
        let both = [holds(self.reach, self.agentbus), holds(self.share, self.ratio)];
        let mut asked = both.into_iter().flatten().peekable();
        let met = asked.peek().is_some().then(|| match self.either {
            true => asked.any(|holds| holds),
            false => asked.all(|holds| holds),
        });
        Self { met, ..self }
    }

    /// Its cells for people, under [`Self::TITLES`].
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        let figure = |figure: Option<f64>| figure.map_or_else(String::new, short);
        let bounds =
            [self.reach.map(|bound| bound.text("")), self.share.map(|bound| bound.text(" ×"))];
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
            self.of_reach.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            met.to_owned(),
            self.note.clone(),
        ]
    }
}

/// A figure with the digits that matter: none behind the point from 100 on, two below 10.
fn short(figure: f64) -> String {
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
    fn a_row_is_judged_by_all_that_is_asked_or_by_either() {
        let row = || Row::new("x", "/s", 80.0).beside(100.0);
        assert_eq!(row().judged().met, None);
        let both = row().reach(Bound::AtLeast(70.0)).share(Bound::AtLeast(0.9));
        assert_eq!(both.clone().judged().met, Some(false));
        assert_eq!(both.either().judged().met, Some(true));
        assert_eq!(row().reach(Bound::AtMost(80.0)).judged().met, Some(true));
        let missing = Row::bare("x", "/s", 1.0).reach(Bound::AtLeast(1.0)).judged();
        assert_eq!(missing.met, Some(false));
    }

    #[test]
    fn figures_are_short() {
        let told = [0.285, 12.34, 999.6, 1_234_567.0].map(short);
        assert_eq!(told, ["0.28", "12.3", "1,000", "1,234,567"]);
    }
}
