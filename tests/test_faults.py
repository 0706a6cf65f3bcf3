"""Two real processes, of which one meets with something; the limits that docs/reliability.md promises."""

import pytest

from benchmarks import faults


@pytest.mark.slow
@pytest.mark.parametrize("fault", faults.FAULTS)
def test_all_processes_end_and_nothing_saved_is_lost(tmp_path, fault):
    outcome = faults.measure(fault, tmp_path / "run")
    print(f"{fault}: exit codes {outcome.codes}, {outcome.seconds:.1f} s")
    assert outcome.seconds < (25 if outcome.codes == [0, 0] else 60)  # 30: a heartbeat that is missed
    if fault.startswith(("SIGTERM", "SIGINT")):
        assert outcome.codes == [0, 0] and outcome.saved == outcome.reached
        assert outcome.output.count("stopped by a signal at step") == 1  # the lead says it for both
    else:
        assert 0 not in outcome.codes and outcome.saved >= 20
    if fault.startswith("SIGSTOP"):
        assert outcome.codes == [75, None] and "_watch" in outcome.output
    if fault.startswith("exception"):
        assert "\nTraceback" in outcome.output and "\nRuntimeError: broken on purpose" in outcome.output
