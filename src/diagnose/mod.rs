//! Diagnosis: what the changes mean. Pure functions over data, every answer with its reason.
//!
//! `flows` judges what moved by its breadth (`breadth`), where owners may act together by its order
//! (`order`), or as an owner's act worth a record (`owner`); `displacement` tells sequels from
//! recoveries; `driven` when a driven signal is news; `ledger` accounts for the rows written;
//! `graph` tells symptoms from causes; `jobs` counts what delta generation does; `rejections` knows
//! what operators called wrong, and `recurrence` what comes again at its time; `signatures` says
//! which cause levels speak for; `causes` and `services` put it into words (`targets`, `texts`).
//! `rank` ranks the columns of any recording around a time, with the help of a graph that was
//! declared for it (`declared`); `events` finds such times. `coincidence` names the change events
//! that came before an onset, by what they ordinarily bring (`relevance`); `announced` holds a
//! cause against what was announced.

pub mod breadth;
pub mod order;
pub mod owner;

pub mod flows;

pub mod displacement;
pub mod driven;

pub mod ledger;
pub mod lost;

pub mod graph;

pub mod signatures;

pub mod jobs;

pub mod recurrence;
pub mod rejections;

pub mod causes;
pub mod services;
pub mod targets;
pub mod texts;

pub mod announced;
pub mod coincidence;
pub mod relevance;

pub mod declared;
pub mod events;
pub mod rank;
