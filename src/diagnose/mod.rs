//! Diagnosis: what the changes mean. Pure functions over data, every answer with its reason.
//!
//! `flows` judges what moved by its breadth (`breadth`), or as an owner's act worth a record
//! (`owner`); `displacement` tells sequels from recoveries; `driven` when a driven signal is news;
//! `ledger` accounts for the rows written; `graph` tells symptoms from causes; `jobs` counts what
//! delta generation does; `signatures` says which cause levels speak for; `causes` and `services`
//! put it into words (`targets`, `texts`).

pub mod breadth;
pub mod owner;

pub mod flows;

pub mod displacement;
pub mod driven;

pub mod ledger;

pub mod graph;

pub mod signatures;

pub mod jobs;

pub mod causes;
pub mod services;
pub mod targets;
pub mod texts;
