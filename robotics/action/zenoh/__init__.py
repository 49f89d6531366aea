"""ROS 2 over Zenoh as the middleware rmw_zenoh_cpp lays it out: its nodes see ours as one of theirs, and no ROS is installed here.

Source: design.md of rmw_zenoh. A topic is a key, a service a queryable, a client's request a query; payloads are CDR; every one
carries an attachment with sequence number, time and the writer's id; liveliness tokens tell who is there.
"""
