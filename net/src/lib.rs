//! What a node does when asked, and the cluster client both front ends call.
