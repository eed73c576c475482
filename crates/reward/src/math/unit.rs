//! Units: a scale, an offset for temperatures, and an exponent for each base.
//!
//! Conversion is exact rational arithmetic, so 1 in = 2.54 cm holds and 10 cm = 10 m does not. A word that is no unit
//! ("apples") is kept as a noun: it says what is counted, converts to nothing, and is compared as a word.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use num_traits::{One, Pow, Zero};

use super::expr::{Rat, show_rat};

/// A product of powers of units.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unit {
    /// Multiplies a value into base units.
    pub scale: Rat,
    /// Added before scaling: nonzero for degrees Celsius and Fahrenheit only.
    pub offset: Rat,
    /// Exponent of each base.
    pub dims: BTreeMap<&'static str, i32>,
    /// What is counted, where that is no unit.
    pub noun: Option<String>,
}

impl Unit {
    pub(crate) fn noun(word: &str) -> Self {
        Self { scale: Rat::one(), offset: Rat::zero(), dims: BTreeMap::new(), noun: Some(singular(word)) }
    }

    /// This · other^power. Offsets are lost: a degree per metre is a difference.
    pub(crate) fn times(&self, other: &Unit, power: i32) -> Unit {
        let mut dims = self.dims.clone();
        for (base, exponent) in &other.dims {
            *dims.entry(base).or_insert(0) += exponent * power;
        }
        dims.retain(|_, e| *e != 0);
        Unit {
            scale: &self.scale * other.scale.clone().pow(power),
            offset: Rat::zero(),
            dims,
            noun: self.noun.clone().or_else(|| other.noun.clone()),
        }
    }

    /// This to a power, without its offset.
    pub(crate) fn power(&self, power: i32) -> Unit {
        let one =
            Unit { scale: Rat::one(), offset: Rat::zero(), dims: BTreeMap::new(), noun: self.noun.clone() };
        one.times(self, power)
    }

    /// Without dimension and noun: nothing to compare.
    pub(crate) fn is_plain(&self) -> bool {
        self.dims.is_empty() && self.noun.is_none()
    }

    /// Whether values in both units can be compared at all.
    pub(crate) fn converts_to(&self, other: &Unit) -> bool {
        self.dims == other.dims && self.noun == other.noun
    }

    pub(crate) fn show(&self) -> String {
        let dims: Vec<String> = self
            .dims
            .iter()
            .map(|(b, e)| if *e == 1 { (*b).to_owned() } else { format!("{b}^{e}") })
            .collect();
        let scale = if self.scale.is_one() { String::new() } else { format!("{}·", show_rat(&self.scale)) };
        format!("{scale}{}{}", dims.join("·"), self.noun.as_deref().unwrap_or(""))
    }
}

fn singular(word: &str) -> String {
    let word = word.to_lowercase();
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem.to_owned(),
        _ => word,
    }
}

/// (names, base, scale numerator, scale denominator). Several bases are joined with `.` and powers written after them.
type Row = (&'static str, &'static str, i64, i64);

/// International values: 1 in = 0.0254 m, 1 lb = 0.45359237 kg, US liquid gallon. Years are Julian, months a twelfth.
const TABLE: &[Row] = &[
    ("m meter metre", "m", 1, 1),
    ("km kilometer kilometre", "m", 1000, 1),
    ("dm decimeter decimetre", "m", 1, 10),
    ("cm centimeter centimetre", "m", 1, 100),
    ("mm millimeter millimetre", "m", 1, 1000),
    ("um micrometer micron", "m", 1, 1_000_000),
    ("nm nanometer nanometre", "m", 1, 1_000_000_000),
    ("inch inche", "m", 254, 10_000),
    ("ft foot feet", "m", 3048, 10_000),
    ("yd yard", "m", 9144, 10_000),
    ("mi mile", "m", 1_609_344, 1000),
    ("ha hectare", "m2", 10_000, 1),
    ("acre", "m2", 40_468_564_224, 10_000_000),
    ("L l liter litre", "m3", 1, 1000),
    ("dL deciliter", "m3", 1, 10_000),
    ("cL centiliter", "m3", 1, 100_000),
    ("mL ml milliliter millilitre cc", "m3", 1, 1_000_000),
    ("gal gallon", "m3", 3_785_411_784, 1_000_000_000_000),
    ("qt quart", "m3", 946_352_946, 1_000_000_000_000),
    ("pint", "m3", 473_176_473, 1_000_000_000_000),
    ("cup", "m3", 2_365_882_365, 10_000_000_000_000),
    ("tablespoon tbsp", "m3", 1_478_676_478_125, 100_000_000_000_000_000),
    ("teaspoon tsp", "m3", 492_892_159_375, 100_000_000_000_000_000),
    ("kg kilogram kilo", "kg", 1, 1),
    ("g gram gramme", "kg", 1, 1000),
    ("mg milligram", "kg", 1, 1_000_000),
    ("tonne", "kg", 1000, 1),
    ("lb pound lbs", "kg", 45_359_237, 100_000_000),
    ("oz ounce", "kg", 45_359_237, 1_600_000_000),
    ("s sec second", "s", 1, 1),
    ("ms millisecond", "s", 1, 1000),
    ("min minute", "s", 60, 1),
    ("h hr hour", "s", 3600, 1),
    ("day", "s", 86_400, 1),
    ("week", "s", 604_800, 1),
    ("month", "s", 2_629_800, 1),
    ("year yr", "s", 31_557_600, 1),
    ("decade", "s", 315_576_000, 1),
    ("century centurie", "s", 3_155_760_000, 1),
    ("A amp ampere", "A", 1, 1),
    ("mA milliampere", "A", 1, 1000),
    ("K kelvin", "K", 1, 1),
    ("mol mole", "mol", 1, 1),
    ("mmol millimole", "mol", 1, 1000),
    ("rad radian", "rad", 1, 1),
    ("deg degree", "deg", 1, 1),
    ("rev revolution", "rev", 1, 1),
    ("Hz hertz", "s-1", 1, 1),
    ("kHz kilohertz", "s-1", 1000, 1),
    ("MHz megahertz", "s-1", 1_000_000, 1),
    ("N newton", "kg.m.s-2", 1, 1),
    ("kN kilonewton", "kg.m.s-2", 1000, 1),
    ("J joule", "kg.m2.s-2", 1, 1),
    ("kJ kilojoule", "kg.m2.s-2", 1000, 1),
    ("MJ megajoule", "kg.m2.s-2", 1_000_000, 1),
    ("cal calorie", "kg.m2.s-2", 4184, 1000),
    ("kcal kilocalorie", "kg.m2.s-2", 4184, 1),
    ("eV electronvolt", "eV", 1, 1),
    ("W watt", "kg.m2.s-3", 1, 1),
    ("mW milliwatt", "kg.m2.s-3", 1, 1000),
    ("kW kilowatt", "kg.m2.s-3", 1000, 1),
    ("MW megawatt", "kg.m2.s-3", 1_000_000, 1),
    ("kWh", "kg.m2.s-2", 3_600_000, 1),
    ("Pa pascal", "kg.m-1.s-2", 1, 1),
    ("kPa kilopascal", "kg.m-1.s-2", 1000, 1),
    ("MPa megapascal", "kg.m-1.s-2", 1_000_000, 1),
    ("bar", "kg.m-1.s-2", 100_000, 1),
    ("atm atmosphere", "kg.m-1.s-2", 101_325, 1),
    ("V volt", "kg.m2.s-3.A-1", 1, 1),
    ("mV millivolt", "kg.m2.s-3.A-1", 1, 1000),
    ("kV kilovolt", "kg.m2.s-3.A-1", 1000, 1),
    ("Omega ohm Ω", "kg.m2.s-3.A-2", 1, 1),
    ("C coulomb", "A.s", 1, 1),
    ("F farad", "kg-1.m-2.s4.A2", 1, 1),
    ("T tesla", "kg.s-2.A-1", 1, 1),
    ("mph", "m.s-1", 1_609_344, 3_600_000),
    ("kph kmh", "m.s-1", 1000, 3600),
    ("byte", "B", 1, 1),
    ("KB kilobyte", "B", 1000, 1),
    ("MB megabyte", "B", 1_000_000, 1),
    ("GB gigabyte", "B", 1_000_000_000, 1),
    ("bit", "B", 1, 8),
    ("$ dollar usd USD buck", "$", 1, 1),
    ("cent ¢", "$", 1, 100),
    ("€ euro EUR", "€", 1, 1),
    ("£ GBP", "£", 1, 1),
    ("¥ yen yuan JPY RMB CNY", "¥", 1, 1),
    ("₹ rupee INR Rs", "₹", 1, 1),
];

/// Every spelling: symbols and names as written, names also in the plural.
static NAMES: LazyLock<HashMap<String, usize>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for (i, (row, ..)) in TABLE.iter().enumerate() {
        for name in row.split(' ') {
            names.insert(name.to_owned(), i);
            if name.len() > 1 && name.is_ascii() {
                names.entry(format!("{name}s")).or_insert(i);
            }
        }
    }
    names
});

/// The unit of one word, in the singular or plural. Symbols keep their case, names do not.
pub(crate) fn lookup(word: &str) -> Option<Unit> {
    let word = word.trim_end_matches('.');
    match word {
        // Too often a preposition; the parser knows where it is a unit.
        "in" => return None,
        "celsius" | "Celsius" => return Some(temperature(Rat::new(27315.into(), 100.into()), Rat::one())),
        "fahrenheit" | "Fahrenheit" => {
            return Some(temperature(Rat::new(45967.into(), 100.into()), Rat::new(5.into(), 9.into())));
        }
        _ => {}
    }
    let row = NAMES.get(word).or_else(|| if word.len() > 3 { NAMES.get(&word.to_lowercase()) } else { None });
    row.map(|i| {
        let (_, base, n, d) = TABLE[*i];
        Unit { scale: Rat::new(n.into(), d.into()), offset: Rat::zero(), dims: bases(base), noun: None }
    })
}

fn temperature(offset: Rat, scale: Rat) -> Unit {
    Unit { scale, offset, dims: BTreeMap::from([("K", 1)]), noun: None }
}

/// Degrees Celsius or Fahrenheit after a degree sign.
pub(crate) fn degrees(letter: &str) -> Option<Unit> {
    match letter {
        "C" => lookup("celsius"),
        "F" => lookup("fahrenheit"),
        _ => None,
    }
}

fn bases(text: &'static str) -> BTreeMap<&'static str, i32> {
    text.split('.')
        .map(|part| {
            let split = part.find(|c: char| c == '-' || c.is_ascii_digit()).unwrap_or(part.len());
            (&part[..split], part[split..].parse().unwrap_or(1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_own_row_and_scales_are_positive() {
        for (names, base, n, d) in TABLE {
            assert!(*n > 0 && *d > 0, "{names}");
            for name in names.split(' ') {
                let unit = lookup(name).unwrap_or_else(|| panic!("{name}"));
                assert_eq!(
                    (unit.scale, unit.dims),
                    (Rat::new((*n).into(), (*d).into()), bases(base)),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn plurals_and_case() {
        for (word, want) in [
            ("meters", "m"),
            ("Miles", "mi"),
            ("ms", "millisecond"),
            ("inches", "inch"),
            ("feet", "ft"),
            ("lbs", "lb"),
            ("hrs", "hr"),
        ] {
            assert_eq!(lookup(word), lookup(want), "{word}");
        }
        for word in ["apples", "in", "M", "KM", "x"] {
            assert_eq!(lookup(word), None, "{word}");
        }
        assert_ne!(lookup("mW"), lookup("MW"));
        assert_eq!(lookup("kW").map(|u| u.times(&lookup("h").unwrap(), 1).dims), lookup("J").map(|u| u.dims));
    }
}
