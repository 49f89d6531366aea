"""rosbridge v2: actions, topics and services as JSON over a websocket, for web pages and robots that have no ROS.

Source: ROSBRIDGE_PROTOCOL.md of rosbridge_suite. Operations: send_action_goal, cancel_action_goal (answered by action_feedback and
action_result); advertise, unadvertise, publish, subscribe, unsubscribe; call_service; set_level, status. A goal that is not taken
is answered by an action_result with `result` false and the reason, a cancelled one by status 5. Cancels are heard while goals run.
Compression and fragments are refused: a websocket has both. Bad input is answered by a status message of level error, with the id
of what it answers, and changes nothing.
"""
