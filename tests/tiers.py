"""Which tests run when. Only this file says so: no test carries such a mark itself.

- Tests without a mark are the default: pure Python, and a handful of whole studies on Ray.
- `ray`: needs a cluster, as all that use the fixture `ray_cluster` do.
- `slow`: searches that converge, products of conformance tests, fuzzing, the benchmarks' tests.
- `nightly`: browsers, terminals, kills, object stores, several nodes, other libraries' training.

Each line is a regular expression of test ids, from their beginning.
"""

from __future__ import annotations

import re


def _those(lines: str) -> re.Pattern[str]:
    return re.compile(f"tests/({'|'.join(lines.split())})")


WHOLE_STUDIES = _those(r"""
integration/test_command_line.py::test_killed_and_resumed_with_reports
integration/test_drop_in.py::test_with_our_scheduler
integration/test_study.py::test_a_study_and_what_is_kept_of_it
integrations/test_sklearn_search.py::test_on_ray_a_grid_gives_what_grid_search_gives
schedulers/test_promotion_in_ray.py::test_a_function_pauses_and_the_best_goes_on
""")

NIGHTLY = _those(r"""
integration/test_killed
integration/test_many_studies
integration/test_metrics
integration/test_object_store
integration/test_silent_trials.py::test_a_process_that_is_stopped
integration/test_terminal
integrations/test_finetune
integrations/test_sklearn_checks.py::test_scikit_learns_checks_on_ray
integrations/test_training_loops
placement/test_autoscaled_job
placement/test_on_a_cluster
report/test_browser
search/test_random_spaces.py::test_hundreds_of_random_spaces
""")

SLOW = _those(r"""
bayes/test_paths.py::test_(after_many|a_fleet_converges|the_best_of)
bayes/test_(belief|proposers|transfer).py::Test\w+::\w+\[(?!conditional)
bayes/test_strategies.py::TestStrategies::.*(constrained|STOPPED_EARLY|FAILED|REMOVED)
bayes/test_strategies.py::TestStrategies::test_(same_seed|state_goes|a_batch)
bayes/test_(belief|transfer).py::test_(a_good_belief|a_wrong_one|a_search_alike)
bayes/test_convergence
bayes/test_engine_fidelity.py::test_much_more
bayes/test_several.py::test_(a_constraint_nothing|a_search_goes|earlier|the_hypervolume|under_a)
bayes/test_strategies.py::test_(evolution_beats|with_a_model_it_beats)
benchmarks/
fuzz/
demo/test_demo_digits.py::test_a_trial_reports
docs/test_site
integrations/test_sklearn_checks
integrations/test_sklearn_search.py::test_(distributions_are|it_searches_better)
integrations/test_spaces.py::test_configspaces_conditions
schedulers/test_freeze_thaw_scheduler.py::test_(equal_seeds|it_pauses|within_a_budget)
schedulers/test_predictive_scheduler.py::test_it_saves
search/test_botorch_search.py::TestInBackground::.*\[limited
search/test_botorch_search.py::TestInBackground::.*-[07]\]
search/test_constrained.py::test_every_proposal_keeps_them
search/test_cost.py::test_more_is_found
search/test_(earlier_studies|fidelities).py::Test
search/test_fidelities.py::test_(a_wrapped|beside|cheap|in_a_process|it_goes_on|the_answer)
search/test_goals.py::test_(a_weighted|every_strategy|trials_stop_early)
search/test_random_spaces.py::.*\[(?![01]\])
search/test_searcher_strategies
simulate/test_invariants
simulate/test_predict.py::test_(a_workload|another_scheduler|the_studys_rungs)
study/test_callbacks.py::test_every_report
""")


def tier_of(test_id: str, *, on_ray: bool) -> str | None:
    """The mark of a test; None: it is one of the default."""
    if WHOLE_STUDIES.match(test_id):
        return None
    if NIGHTLY.match(test_id):
        return "nightly"
    if on_ray:
        return "ray"
    return "slow" if SLOW.match(test_id) else None
