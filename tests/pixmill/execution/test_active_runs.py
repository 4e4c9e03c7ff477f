"""How flows and tasks find the run that they work for."""

import pytest

from pixmill.config.loading import load_config
from pixmill.errors import PixmillError
from pixmill.execution.active_runs import FlowParameters, active_run
from pixmill.execution.prepare import prepare, prepare_flow_run
from tests.conftest import Project, Simulated


def test_a_flow_takes_over_only_the_run_that_was_planned_for_its_parameters(
    project: Project, simulated: Simulated
) -> None:
    """Spending: what a person agreed to is what is paid for, once."""
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    path = project.path
    parameters = FlowParameters.of(path, [], None, True)
    with prepare(load_config(path)) as planned:
        planned.flow_parameters = parameters
        for other in (
            prepare_flow_run(path, ["seed.base=8"], new_store=True),
            prepare_flow_run(path, limit=1, new_store=True),
        ):
            with other as run:
                assert run is not planned
        with prepare_flow_run(path, None, new_store=True) as run:
            assert run is planned
            run.start()
        with prepare_flow_run(path, new_store=True) as again:
            assert again is not planned
        assert active_run(planned.run_id) is planned.started
    assert simulated.bill.calls == 0


def test_a_run_is_found_by_its_tasks_from_its_start_to_its_end(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(1))
    project.use_simulator(simulated)
    with prepare(load_config(project.path)) as prepared:
        with pytest.raises(PixmillError, match="not running in this process"):
            active_run(prepared.run_id)
        run = prepared.start()
        assert active_run(run.run_id) is run
    with pytest.raises(PixmillError, match="not running in this process"):
        active_run(run.run_id)
