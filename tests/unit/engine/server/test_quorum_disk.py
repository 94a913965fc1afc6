"""Controllers over real sockets and files, one of whose disks refuses: it ends without an answer, and the others go on."""

from __future__ import annotations

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.raft import FileQuorumStateStore
from kafkalab.engine.raft.quorum_state import QUORUM_STATE_FILE
from kafkalab.engine.server.node import NodeFailed
from tests.support.quorum_nodes import CLUSTER_ID, Controllers, vote_request
from tests.support.waiting import wait_for

# A disk that refuses is told of in the log.
pytestmark = pytest.mark.expects_warnings


@pytest.mark.parametrize("kind", list(DiskFaultKind))
def test_a_vote_that_cannot_be_put_down_is_not_answered(controllers: Controllers, kind: DiskFaultKind) -> None:
    quorum = wait_for(controllers.quorum, "a leader")
    voter_id, candidate_id = (one for one in controllers.addresses if one != quorum.leader_id)
    runner, file = controllers.nodes.runner(voter_id), controllers.metadata_dir(voter_id) / QUORUM_STATE_FILE
    runner.set_disk_faults((DiskFault(kind, str(file)),))
    epoch = quorum.leader_epoch + 1
    with pytest.raises(ConnectionResetError):
        controllers.ask(voter_id, ApiKey.VOTE, 2, vote_request(CLUSTER_ID, epoch, candidate_id))
    wait_for(lambda: not runner.is_alive, "the voter's end")
    assert runner.failure is not None and runner.failure.startswith(f"{file} cannot be written: ")
    # The quorum goes on without it, and it is free to vote for somebody else when its disk is whole.
    assert wait_for(controllers.quorum, "the leader as before").leader_id == quorum.leader_id
    remembered = FileQuorumStateStore(FileStorage(), file.parent).read()
    assert remembered is not None and remembered.epoch < epoch
    controllers.nodes.start(voter_id)
    answer = controllers.ask(voter_id, ApiKey.VOTE, 2, vote_request(CLUSTER_ID, epoch, quorum.leader_id))
    partition = answer.topics[0].partitions[0]
    assert (partition.error_code, partition.vote_granted) == (Errors.NONE, True)


@pytest.mark.parametrize("kind", [DiskFaultKind.FULL, DiskFaultKind.BROKEN])
def test_a_leader_whose_disk_refuses_ends_and_another_is_elected(controllers: Controllers, kind: DiskFaultKind) -> None:
    quorum = wait_for(controllers.quorum, "a leader")
    runner = controllers.nodes.runner(quorum.leader_id)
    runner.set_disk_faults((DiskFault(kind, str(controllers.nodes.data_dir(quorum.leader_id))),))
    # It writes by itself: the registrations of the others, and a record now and then when nothing happens.
    wait_for(lambda: not runner.is_alive, "the leader's end")
    assert runner.failure is not None and str(controllers.nodes.data_dir(quorum.leader_id)) in runner.failure
    after = wait_for(controllers.quorum, "another leader")
    assert after.leader_id != quorum.leader_id and after.leader_epoch > quorum.leader_epoch
    assert all(controllers.nodes.runner(node_id).is_alive for node_id in controllers.addresses if node_id != quorum.leader_id)


def test_one_that_cannot_put_down_its_epoch_does_not_start(controllers: Controllers) -> None:
    quorum = wait_for(controllers.quorum, "a leader")
    node_id = next(one for one in controllers.addresses if one != quorum.leader_id)
    controllers.nodes.stop(node_id)
    file = controllers.metadata_dir(node_id) / QUORUM_STATE_FILE
    # The log got further than the file.
    file.unlink()
    file.with_name(f"{file.name}.tmp").mkdir()
    with pytest.raises(NodeFailed, match=f"{QUORUM_STATE_FILE} cannot be written: "):
        controllers.nodes.start(node_id)
