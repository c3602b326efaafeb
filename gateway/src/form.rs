//! A browser's form: an object in the body of a `POST` of `multipart/form-data`, with everything that a PUT says in headers in fields before it, and with its
//! signature over a policy that says what the fields and the file may be.
//!
//! | module | what |
//! |---|---|
//! | [`parts`] | the framing: fields first, then the file |
//! | [`fields`] | what the fields say: the key, the headers of the object, what is answered |
//! | [`policy`] | the policy: until when, and which values |
//!
//! Sources: AWS's S3 API reference, "POST Object", "Authenticating Requests in Browser-Based Uploads Using POST", "Creating a POST policy" and "Creating an HTML
//! form".

pub mod fields;
pub mod parts;
pub mod policy;
