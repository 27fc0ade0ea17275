"""How a segment is searched: scan or walk, and the fall-back from the one to the other.

Which is cheaper under a filter was measured at ef 64 (microseconds, one thread, int8 codes, on a busy machine, so only
ratios count; benchmarks/kernel.py repeats it):

    selected                  1      .2      .1     .05     .02     .01
    200 000 made:   walk     525     412     918   1 743   3 452   6 454
                    scan  11 516   6 644   4 747   2 019     851     479
                    rows compared by the walk: 462, 832, 2 799, 6 219, 14 264, 26 005
    50 000 texts:   walk     305     556   1 015   1 597   3 428   5 604
                    scan   2 708   1 194     598     402     239     125
                    rows compared by the walk: 1 143, 4 134, 7 521, 11 986, 22 207, 31 692

A row costs a walk about as much as a scan, and a walk compares about 10 · ef / share rows where the two meet.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import scan, scoring, shortlist, traverse
from qnode.index.vectors.combining import score_rows
from qnode.index.vectors.examples import WIDEST, Addressed, ExamplesQuery
from qnode.index.vectors.query import Query
from qnode.index.vectors.scratch import scratch
from qnode.index.vectors.sketches import CERTAINTY, LARGEST, Sketches
from qnode.index.vectors.view import Bools, Plan, View
from qnode.models.query import QuantizationParams
from qnode.models.vector_params import Distance, QuantizationKind

COMPARED_PER_EF = 10
"""Rows that a walk compares for each candidate it keeps, times the share of rows that may be returned (m 16)."""

USUAL_M = 16

WALK_COST, SCAN_COST = 1.2, 1.0
"""Relative cost of comparing one row in a walk and in a scan."""

BUDGET_FACTOR = 2.0
"""A walk may cost this many times the scan that would replace it before it gives up."""

LISTED_SHARE = 16
"""The selection is turned into a list of rows if it is at most one in so many of them."""

MINIMAL_RESCORED, RESCORED_FACTOR = 20, 2
"""Own codes: candidates scored exactly, k + the first or k times the second."""

SKETCHED_SHARE = 8
"""Sketches of all rows are read if no fewer than one in so many is wanted, and no more than one in so many is asked for."""

ROUNDING = 1.2e-7
"""Relative error of a float32 sum, for each summand."""

REMEMBERED_PLANS = 64

Bounds = tuple[tuple[int, int, int, int, int, int], tuple[float, float, float]]
NO_BOUNDS: Bounds = (0, 0, 0, 0, 0, 0), (0.0, 0.0, 0.0)


def search(
    view: View,
    query: Query | ExamplesQuery,
    k: int,
    ef: int,
    alive: Bools,
    selected: Bools | None,
    selected_count: int,
    *,
    exact: bool,
    quantization: QuantizationParams,
    floor: float = -np.inf,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Return the similarities and rows of the best k, best first; see the segments' `search`."""
    assert len(alive) >= view.rows
    wanted = view.rows if selected is None else min(selected_count, view.rows)
    k = min(k, view.rows)
    if k <= 0 or wanted <= 0:
        return np.empty(0, np.float32), np.empty(0, np.int32)
    plan = None
    if isinstance(query, ExamplesQuery):
        ef = WIDEST * ef
    if not exact and view.graph is not None:
        plan = plan_for_all(view, k, ef, quantization) if selected is None else _plan(view, k, ef, wanted, quantization)
    scratch.reserve(view.rows, max(k, plan.ef if plan else 0), view.graph.links.shape[1] if view.graph else 0)
    count = traverse.OUT_OF_BUDGET
    if plan is not None:
        if isinstance(query, ExamplesQuery):
            count = _walk_for_examples(view, query, k, plan, alive, selected)
        else:
            count = _walk(view, query, k, plan, alive, selected)
    if count < min(k, wanted):
        count = _scan(view, query, k, alive, selected, wanted, exact=exact, floor=floor)
    return scratch.scores[:count].copy(), scratch.found[:count].copy()


def plan_for_all(view: View, k: int, ef: int, quantization: QuantizationParams) -> Plan | None:
    """Plan a search without a filter; remembered, since it depends on little, and making it costs microseconds."""
    asked = (k, ef, quantization)
    known = view.plans.get(asked)
    if known is None:
        if len(view.plans) >= REMEMBERED_PLANS:
            view.plans.clear()
        known = view.plans[asked] = _plan(view, k, ef, view.rows, quantization)
    return known


def _plan(view: View, k: int, ef: int, wanted: int, quantization: QuantizationParams) -> Plan | None:
    """Decide how to walk the graph, or None if a scan of the wanted rows is cheaper."""
    asked = view.params.quantization is not None and view.params.quantization.kind in (
        QuantizationKind.SCALAR,
        QuantizationKind.BINARY,
    )
    on_codes = view.codes is not None and not (asked and quantization.ignore)
    candidates, rescored = k, 0
    if on_codes:
        if asked:
            candidates = max(k, int(np.ceil(k * (quantization.oversampling or 1.0))))
        if not asked or quantization.rescore is not False:
            rescored = candidates if asked and quantization.oversampling else _usually_rescored(k)
    ef = min(max(ef, candidates, 1), view.rows)
    expected = COMPARED_PER_EF * max(1.0, view.params.m / USUAL_M) * ef * view.rows / wanted
    scanning = wanted * SCAN_COST / WALK_COST
    if min(expected, view.rows) > scanning:
        return None
    budget = int(BUDGET_FACTOR * scanning) + 1
    return Plan(ef, min(rescored, ef), budget, wanted / view.rows, on_codes)


def _usually_rescored(k: int) -> int:
    return max(k + MINIMAL_RESCORED, k * RESCORED_FACTOR)


def _walk(view: View, query: Query, k: int, plan: Plan, alive: Bools, selected: Bools | None) -> int:
    if plan.on_codes:
        coded, code_scorer = view.codes, view.code_scorer
        assert coded is not None
        assert code_scorer is not None
        query_at, scale = query.encoded(coded.kind, coded.limit)
        near, factor = view.near_codes, code_scorer.factor * scale
    else:
        query_at, near, factor = query.address, view.near_vectors, view.exact.factor
    exactly = (view.exactly, query.address)
    return _walk_by(view, near, factor, query_at, exactly, k, plan.ef, plan.rescored, plan, alive, selected)


def _walk_for_examples(
    view: View, query: ExamplesQuery, k: int, plan: Plan, alive: Bools, selected: Bools | None
) -> int:
    """Walk in each of the ways that suit the examples; what they found together is left where a walk leaves it."""
    exactly = query.exactly(view)
    by_vectors = plan.rescored > 0 or not plan.on_codes
    approaches = query.walks(view, on_codes=plan.on_codes, by_vectors=by_vectors)
    scores, rows = np.empty(0, np.float32), np.empty(0, np.int32)
    for approach in approaches:
        ef = max(k, plan.ef // approach.narrowed)
        rescored = 0
        if by_vectors and not (approach.is_combined and not plan.on_codes):
            rescored = min(max(_usually_rescored(k), plan.rescored), ef) if len(approaches) == 1 else ef
        count = _walk_by(
            view, approach.near, approach.factor, approach.query_at, exactly, k, ef, rescored, plan, alive, selected
        )
        if count < 0 or len(approaches) == 1:
            return count
        found, places = np.unique(np.concatenate((rows, scratch.found[:count])), return_index=True)
        values = np.concatenate((scores, scratch.scores[:count]))[places]
        best = np.lexsort((found, -values))[:k]
        scores, rows = values[best], found[best]
    scratch.scores[: len(rows)], scratch.found[: len(rows)] = scores, rows
    return len(rows)


def _walk_by(
    view: View, near: tuple[int, int, int, int, int], factor: float, query_at: int, exactly: Addressed, k: int, ef: int,
    rescored: int, plan: Plan, alive: Bools, selected: Bools | None,
) -> int:  # fmt: skip
    return traverse.graph_search(
        *near,
        factor,
        query_at,
        *exactly[0],
        exactly[1],
        *view.graph_arguments,
        view.alive_at(alive),
        view.points_at,
        view.selected_at(selected),
        0 if selected is None else len(selected),
        ef,
        k,
        rescored,
        plan.budget,
        plan.share,
        scratch.next_marks(1),
        scratch.marks,
        scratch.frontier,
        scratch.best,
        scratch.fresh,
        scratch.scores,
        scratch.found,
        scratch.cell_at,
    )


def _scan(
    view: View,
    query: Query | ExamplesQuery,
    k: int,
    alive: Bools,
    selected: Bools | None,
    wanted: int,
    *,
    exact: bool,
    floor: float,
) -> int:
    selected_at = view.selected_at(selected)
    capacity = 0 if selected is None else len(selected)
    list_at, count = 0, view.rows
    slack = max(1e-5, ROUNDING * view.params.size)
    if selected_at and view.ascending and wanted * LISTED_SHARE <= view.rows:
        list_at = scratch.list_at
        count = scan.list_selected(selected_at, capacity, view.points_at, view.rows, list_at)
        selected_at = 0
    elif (
        isinstance(query, Query)
        and not exact
        and view.sketched is not None
        and _reads_sketches(view.sketched, view.rows, query, k, wanted)
    ):
        list_at = scratch.list_at
        count = shortlist.shortlist(
            *view.exactly[:4],
            view.params.size,
            view.exact.factor,
            query.address,
            *view.sketches_at,
            view.sketched.centre.length,
            view.sketched.longest,
            query.floats_address,
            query.turned_address,
            query.length,
            view.params.distance is Distance.EUCLID,
            CERTAINTY,
            slack,
            floor,
            view.rows,
            view.alive_at(alive),
            view.points_at,
            selected_at,
            capacity,
            k,
            scratch.best,
            scratch.tables_at(view.sketch_work_bytes),
            scratch.frontier_at,
            list_at,
            scratch.cell_at,
        )
    if isinstance(query, ExamplesQuery):
        exactly, query_at = query.exactly(view)
        bounds = NO_BOUNDS
    else:
        exactly, query_at, bounds = view.exactly, query.address, _bounds(view, query)
    codes_at, error = bounds
    return scan.scan(
        *exactly[:4],
        view.params.size,
        exactly[4],
        query_at,
        *codes_at,
        view.params.distance is Distance.EUCLID,
        *error,
        slack,
        list_at,
        count,
        view.alive_at(alive),
        view.points_at,
        selected_at,
        capacity,
        k,
        floor,
        scratch.best,
        scratch.scores,
        scratch.found,
        scratch.cell_at,
    )


def _bounds(view: View, query: Query) -> Bounds:
    """What lets a scan pass over rows: codes of the rows and of the query, and what they may be wrong by."""
    if view.codes is None or view.bounds_at == 0:
        return NO_BOUNDS
    function = scoring.c_function("dot", "int8")
    rows = (view.codes.rows, view.codes_at, view.code_stride, function, query.own_address, view.bounds_at)
    return rows, (query.scale, query.missed, query.length)


def score(view: View, query: Query | ExamplesQuery, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the exact similarities of these rows, in their order: those that a scan gives them."""
    exactly, query_at = query.exactly(view) if isinstance(query, ExamplesQuery) else (view.exactly, query.address)
    scores = np.empty(len(rows), np.float32)
    score_rows(*exactly[:4], view.params.size, exactly[4], query_at, rows, scores, scratch.cell_at)
    return scores


def _reads_sketches(sketched: Sketches, rows: int, query: Query, k: int, wanted: int) -> bool:
    worth_it = wanted * SKETCHED_SHARE >= rows and k * SKETCHED_SHARE <= sketched.rows
    return worth_it and query.length < LARGEST
