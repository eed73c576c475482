//! Which column of a file is what: found by name, corrected by hand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

macro_rules! roles {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $label:literal, $known:expr;)*) => {
        /// What a column of a file is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Role { $($(#[$doc])* $variant,)* }

        impl Role {
            /// Every role, the needed ones first.
            pub const ALL: &'static [Role] = &[$(Role::$variant,)*];

            /// Its name in messages between page and worker.
            pub fn name(self) -> &'static str {
                match self { $(Role::$variant => $name,)* }
            }

            /// Its name for people.
            pub fn label(self) -> &'static str {
                match self { $(Role::$variant => $label,)* }
            }

            /// Columns that are taken for it unasked, the likeliest first.
            fn known(self) -> &'static [&'static str] {
                match self { $(Role::$variant => &$known,)* }
            }
        }
    };
}

roles! {
    /// The response; the one column without which there is nothing to check.
    Reply = "reply", "Reply",
        ["pred", "response", "reply", "prediction", "completion", "model_response", "model_output", "output", "generated"];
    /// The truth or truths.
    Truth = "truth", "Truth",
        ["golds", "gold", "answer", "answers", "truth", "ground_truth", "gt", "reference", "references", "target", "solution"];
    /// The kind of reward, by the file's own name.
    Kind = "kind", "Kind of reward", ["kind", "reward", "reward_kind", "reward_type", "answer_type", "type"];
    /// The question.
    Problem = "problem", "Problem", ["problem", "question", "query", "prompt", "instruction", "input"];
    /// Options of a choice.
    Choices = "choices", "Choices", ["choices", "options", "candidates"];
    /// Switches of the row, a JSON object.
    Opts = "opts", "Switches", ["opts", "reward_opts"];
    /// Paths of pictures.
    Image = "image", "Picture", ["image_path", "image_paths", "image", "images", "picture", "image_file", "file_name"];
    /// The row's own name.
    Id = "id", "Id", ["id", "row_id", "uid", "qid", "question_id", "index"];
    /// Tokens of the response, for a length penalty.
    Tokens = "tokens", "Tokens of the reply", ["tokens", "response_tokens", "response_length", "num_tokens"];
}

/// The column of each role that has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Columns(BTreeMap<Role, String>);

impl Columns {
    /// Finds columns by name, without regard to case and with `-` and blanks as `_`.
    pub fn guess<S: AsRef<str>>(names: &[S]) -> Self {
        let fold = |name: &str| name.trim().to_lowercase().replace(['-', ' '], "_");
        let column = |known: &&str| names.iter().map(AsRef::as_ref).find(|name| fold(name) == **known);
        let found = |role: Role| role.known().iter().find_map(column).map(|name| (role, name.to_owned()));
        Self(Role::ALL.iter().copied().filter_map(found).collect())
    }

    /// The column of a role.
    pub fn get(&self, role: Role) -> Option<&str> {
        self.0.get(&role).map(String::as_str)
    }

    /// Takes the value of a role out of a row's fields. Files mix names, `gold` in one row and `golds` in the next: where a
    /// column that was found by name is empty, the role's other names are looked for.
    pub(crate) fn take(&self, role: Role, fields: &mut Map<String, Value>) -> Option<Value> {
        let column = self.get(role)?;
        let mut filled = |name: &str| fields.get_mut(name).map(Value::take).filter(|value| !value.is_null());
        let known = role.known().contains(&column);
        filled(column).or_else(|| role.known().iter().filter(|_| known).find_map(|name| filled(name)))
    }

    /// Sets or, with `None`, clears the column of a role.
    pub fn set(&mut self, role: Role, column: Option<String>) {
        match column {
            Some(column) => self.0.insert(role, column),
            None => self.0.remove(&role),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_the_likeliest_wins() {
        let columns =
            Columns::guess(&["Question", "answer", "Ground Truth", "Model-Response", "reward", "x"]);
        let found = Role::ALL.iter().filter_map(|&role| Some((role.name(), columns.get(role)?)));
        let want =
            [("reply", "Model-Response"), ("truth", "answer"), ("kind", "reward"), ("problem", "Question")];
        assert_eq!(found.collect::<Vec<_>>(), want);
        assert_eq!(Columns::guess(&["foo"]), Columns::default());
    }

    #[test]
    fn other_names_stand_in_for_one_that_was_found_but_not_for_one_that_was_chosen() {
        let fields = || match serde_json::json!({"golds": null, "gold": 1, "answer": 2, "mine": null}) {
            Value::Object(fields) => fields,
            _ => unreachable!(),
        };
        let mut columns = Columns::guess(&["golds"]);
        assert_eq!(columns.take(Role::Truth, &mut fields()), Some(1.into()));
        columns.set(Role::Truth, Some("mine".into()));
        assert_eq!(columns.take(Role::Truth, &mut fields()), None);
        assert_eq!(columns.take(Role::Reply, &mut fields()), None);
    }

    #[test]
    fn columns_travel_as_an_object_of_roles() {
        let mut columns = Columns::guess(&["pred"]);
        columns.set(Role::Truth, Some("t".into()));
        assert_eq!(serde_json::to_string(&columns).unwrap(), r#"{"reply":"pred","truth":"t"}"#);
        columns.set(Role::Truth, None);
        assert_eq!(columns.get(Role::Truth), None);
    }
}
