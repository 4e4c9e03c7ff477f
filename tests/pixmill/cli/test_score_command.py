"""`pixmill score` fills in scores without paying."""

from tests.conftest import Project, Simulated
from tests.pixmill.run_checks import results, run_and_check, simulator_charges
from tests.real_command import Command


def test_scores_are_filled_in_without_a_call(
    project: Project, simulated: Simulated, pixmill: Command
) -> None:
    project.write_rows(project.rows(4))
    project.use_simulator(simulated)
    run_and_check(project.path, simulator_charges(simulated))
    project.write_config(quality={"checks": ["blank", "dark"]})
    for scored in (4, 0):
        shown = pixmill("score", project.path, "--json")
        assert shown.exit_code == 0, shown.stderr
        said = shown.report
        assert (said["exit_code"], said["scored"], said["failures"]) == (0, scored, [])
        rows = results(said)
        assert all(0 <= row["score_blank"] <= 1 for row in rows)
        assert {row["flag_dark"] for row in rows} <= {True, False}
        counted = f"score: {scored} images scored"
        assert counted in pixmill("status", project.path).stderr
    assert simulated.bill.calls == 4


def test_a_config_without_quality_says_what_is_missing(
    project: Project, simulated: Simulated, pixmill: Command
) -> None:
    project.write_rows(project.rows(1))
    project.use_simulator(simulated)
    shown = pixmill("score", project.path)
    assert shown.exit_code == 2
    assert "the config asks for no score" in shown.stderr
