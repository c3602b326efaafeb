//! HTTP, authentication and the S3 front end.
