from mtopt_core.heartbeats import BLOCKED, PID, Heartbeats

ARM, POLICY = '/robot1/arm', '/robot1/policy'


def heard(now=0.0, **values):
    heartbeats = Heartbeats({ARM: 2.0, POLICY: 5.0})
    heartbeats.hear(ARM, {PID: '7', **values}.items(), now)
    return heartbeats


def test_a_node_is_silent_until_it_is_heard_and_once_its_time_is_over():
    heartbeats = heard(now=10.0)
    assert heartbeats.silent([ARM], 12.0) == ''
    assert ARM in heartbeats.silent([ARM], 12.1)
    assert 'not been heard yet' in heartbeats.silent([ARM, POLICY], 10.0)


def test_every_node_has_a_silence_of_its_own():
    heartbeats = heard()
    heartbeats.hear(POLICY, {PID: '8'}.items(), 0.0)
    assert heartbeats.silent([POLICY], 4.0) == ''
    assert ARM in heartbeats.silent([POLICY, ARM], 4.0)


def test_a_node_started_anew_is_told_by_its_process():
    heartbeats = heard()
    before = heartbeats.pids([ARM, POLICY])
    assert before == {ARM: 7}
    assert heartbeats.replaced(before) == ''
    heartbeats.hear(ARM, {PID: '9'}.items(), 1.0)
    assert ARM in heartbeats.replaced(before)


def test_what_blocks_a_node_is_told_until_it_does_not():
    heartbeats = heard(**{BLOCKED: 'emergency stop'})
    assert heartbeats.blocked([POLICY]) == ''
    assert heartbeats.blocked([ARM, POLICY]) == f'{ARM}: emergency stop'
    heartbeats.hear(ARM, {PID: '7', BLOCKED: ''}.items(), 1.0)
    assert heartbeats.blocked([ARM]) == ''


def test_other_nodes_do_not_matter():
    heartbeats = heard()
    heartbeats.hear('/robot2/arm', {PID: '3'}.items(), 0.0)
    assert heartbeats.heard('/robot2/arm') is None
