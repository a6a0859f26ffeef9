//! Judges an answer. The script of the report has the same rules: `report/view/quiz.js`.

use super::{Answer, Choice, Number, Question};

/// What there is to say about an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub right: bool,
    /// Why it is wrong, or what the right answer means.
    pub text: String,
}

impl Question {
    /// How to answer.
    pub fn how(&self) -> &'static str {
        match &self.answer {
            Answer::Word { .. } => {
                "a number (0x7f12…), a formula (B+0x10), or eight bytes as they lie in memory (10 00 …)"
            }
            Answer::Some { one: true, .. } => "one digit",
            Answer::Some { one: false, .. } => "the digits of all that are right, 0 for none of them",
            Answer::Order { .. } => "all digits, in the right order",
        }
    }

    /// The lines of the options, with their digits.
    pub fn options(&self) -> Vec<String> {
        let texts: Vec<&str> = match &self.answer {
            Answer::Word { .. } => Vec::new(),
            Answer::Some { options, .. } => options.iter().map(|option| option.text.as_str()).collect(),
            Answer::Order { options, .. } => options.iter().map(String::as_str).collect(),
        };
        texts.iter().enumerate().map(|(at, text)| format!("{}  {text}", at + 1)).collect()
    }

    /// Judges what the learner typed.
    ///
    /// # Errors
    /// If it is no answer at all: what is wrong with its form.
    pub fn judge(&self, typed: &str) -> Result<Verdict, String> {
        match &self.answer {
            Answer::Word { value, letters, slips } => {
                let (word, turned) = word(typed, letters)?;
                Ok(self.word(word, turned, *value, slips))
            }
            Answer::Some { options, one } => {
                let chosen = digits(typed, options.len())?;
                if *one && chosen.len() != 1 {
                    return Err("choose one of them".into());
                }
                Ok(self.some(&chosen, options, *one))
            }
            Answer::Order { options, rules, .. } => {
                let given = digits(typed, options.len())?;
                if given.len() != options.len() {
                    return Err(format!("give all {} digits", options.len()));
                }
                let place = |option: usize| given.iter().position(|&other| other == option);
                let broken = rules.iter().find(|(first, second, _)| place(*first) > place(*second));
                Ok(broken.map_or_else(|| self.right(), |(_, _, why)| self.wrong(why)))
            }
        }
    }

    fn right(&self) -> Verdict {
        Verdict { right: true, text: self.because.clone() }
    }

    fn wrong(&self, why: &str) -> Verdict {
        Verdict { right: false, text: format!("{why} {}", self.because) }
    }

    fn word(&self, word: u64, turned: Option<u64>, value: Number, slips: &[(Number, String)]) -> Verdict {
        if word == value.0 {
            return self.right();
        }
        if turned == Some(value.0) {
            return self.wrong("The bytes are right, their order is not: x86-64 stores the lowest byte first.");
        }
        match slips.iter().find(|(slip, _)| slip.0 == word) {
            Some((_, why)) => self.wrong(why),
            None => self.wrong(&format!("{word:#x} is not it.")),
        }
    }

    fn some(&self, chosen: &[usize], options: &[Choice], one: bool) -> Verdict {
        let wrong = options.iter().enumerate().filter(|(at, option)| option.right != chosen.contains(at));
        // Where one is right, `because` names it.
        let wrong = wrong.filter(|(_, option)| !(one && option.right));
        let why: Vec<&str> = wrong.map(|(_, option)| option.why.as_str()).take(2).collect();
        if why.is_empty() { self.right() } else { self.wrong(&why.join(" ")) }
    }
}

/// The options that digits stand for: `13`, `1 3`, `1,3`; `0` for none.
fn digits(typed: &str, options: usize) -> Result<Vec<usize>, String> {
    let mut chosen = Vec::new();
    for letter in typed.chars().filter(|letter| !matches!(letter, ' ' | ',')) {
        match letter.to_digit(10) {
            Some(0) => {}
            Some(digit) if digit as usize > options => return Err(format!("there are only {options} of them")),
            Some(digit) if chosen.contains(&(digit as usize - 1)) => return Err(format!("{digit} stands there twice")),
            Some(digit) => chosen.push(digit as usize - 1),
            None => return Err(format!("{letter:?} is no digit")),
        }
    }
    if typed.trim().is_empty() { Err("type the digits, 0 for none".into()) } else { Ok(chosen) }
}

/// The word that was typed. Of eight single bytes also the word with its bytes turned round.
fn word(typed: &str, letters: &[(char, Number)]) -> Result<(u64, Option<u64>), String> {
    let parts: Vec<&str> = typed.split_whitespace().collect();
    if parts.len() == 8 && parts.iter().all(|part| part.len() == 2) {
        let bytes: Result<Vec<u8>, _> = parts.iter().map(|part| u8::from_str_radix(part, 16)).collect();
        let bytes = bytes.map_err(|_| "a byte has two digits from 0 to f".to_string())?;
        let bytes: [u8; 8] = bytes.try_into().expect("there are eight parts");
        return Ok((u64::from_le_bytes(bytes), Some(u64::from_be_bytes(bytes))));
    }
    let text: String = parts.concat();
    let mut sum = 0u64;
    let mut rest = text.as_str();
    let mut minus = false;
    loop {
        let end = rest.find(['+', '-', '\u{2212}']).unwrap_or(rest.len());
        let term = term(&rest[..end], letters)?;
        sum = if minus { sum.wrapping_sub(term) } else { sum.wrapping_add(term) };
        let Some(sign) = rest[end..].chars().next() else { return Ok((sum, None)) };
        minus = sign != '+';
        rest = &rest[end + sign.len_utf8()..];
    }
}

/// A letter, or a number: hexadecimal if it has `0x` or a digit above 9.
fn term(text: &str, letters: &[(char, Number)]) -> Result<u64, String> {
    let is_letter = |(letter, _): &&(char, Number)| text.eq_ignore_ascii_case(&letter.to_string());
    if let Some((_, value)) = letters.iter().find(is_letter) {
        return Ok(value.0);
    }
    let lower = text.to_ascii_lowercase().replace(['_', '\''], "");
    let number = match lower.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None if lower.bytes().all(|b| b.is_ascii_digit()) => lower.parse(),
        None => u64::from_str_radix(&lower, 16),
    };
    number.map_err(|_| match text {
        "" => "a number or a letter is missing".into(),
        _ => format!("{text:?} is neither a number nor one of {}", letters.iter().map(|(l, _)| *l).collect::<String>()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Concept;
    use super::*;

    fn question(answer: Answer) -> Question {
        let because = "So it is.".into();
        Question { at: 1, concept: Concept::Relocation, text: String::new(), given: Vec::new(), answer, because }
    }

    #[test]
    fn a_word_is_right_as_a_number_as_a_formula_and_as_bytes() {
        let letters = vec![('B', Number(0x7000)), ('A', Number(0x1172))];
        let slips = vec![(Number(0x1172), "B is missing.".into())];
        let asked = question(Answer::Word { value: Number(0x8172), letters, slips });
        for right in [
            "0x8172",
            "8172h".trim_end_matches('h').replace("8172", "0x8172").as_str(),
            "B+0x1172",
            "b + A",
            "A+B",
            "33138",
            "72 81 00 00 00 00 00 00",
        ] {
            assert_eq!(asked.judge(right), Ok(Verdict { right: true, text: "So it is.".into() }), "{right}");
        }
        let wrong = |typed: &str| asked.judge(typed).unwrap();
        assert_eq!(wrong("0x1172"), Verdict { right: false, text: "B is missing. So it is.".into() });
        assert!(wrong("00 00 00 00 00 00 81 72").text.starts_with("The bytes are right, their order is not"));
        assert!(wrong("B").text.starts_with("0x7000 is not it."));
        assert_eq!(asked.judge("Q+1").unwrap_err(), "\"Q\" is neither a number nor one of BA");
        assert_eq!(asked.judge("B+").unwrap_err(), "a number or a letter is missing");
    }

    #[test]
    fn of_options_all_that_are_right_must_be_chosen() {
        let choice = |text: &str, right| Choice { text: text.into(), right, why: format!("{text}!") };
        let options = vec![choice("a", true), choice("b", false), choice("c", true)];
        let asked = question(Answer::Some { options, one: false });
        assert!(asked.judge("13").unwrap().right && asked.judge("3, 1").unwrap().right);
        assert_eq!(asked.judge("1 2").unwrap().text, "b! c! So it is.");
        assert_eq!(asked.judge("0").unwrap().text, "a! c! So it is.");
        assert_eq!(asked.judge("4").unwrap_err(), "there are only 3 of them");
        assert_eq!(asked.judge("11").unwrap_err(), "1 stands there twice");
    }

    #[test]
    fn an_order_is_right_if_it_keeps_every_rule() {
        let rules = vec![(0, 1, "a before b.".into()), (0, 2, "a before c.".into())];
        let options = ["a", "b", "c"].map(String::from).to_vec();
        let asked = question(Answer::Order { options, right: vec![0, 1, 2], rules });
        assert!(asked.judge("123").unwrap().right && asked.judge("1 3 2").unwrap().right);
        assert_eq!(asked.judge("213").unwrap().text, "a before b. So it is.");
        assert_eq!(asked.judge("12").unwrap_err(), "give all 3 digits");
    }
}
