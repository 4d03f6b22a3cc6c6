"""Graduated non-convexity solvers; they know nothing of networks, tomography or logging."""

from gnclightning.solvers.algorithms import (
    gnc_flow,
    gradient_descent,
    gradient_like,
    preconditioned,
)
from gnclightning.solvers.certificate import Certificate, certify
from gnclightning.solvers.directions import BarzilaiBorweinFirstStep, FixedFirstStep
from gnclightning.solvers.line_search import Armijo, ConstantStep
from gnclightning.solvers.safeguard import Safeguard
from gnclightning.solvers.schedules import linear_schedule, log_schedule
from gnclightning.solvers.solve import Solution, iterate, solve
from gnclightning.solvers.solver import Solver
from gnclightning.solvers.state import Record, SolverState, Status, blank_record

__all__ = [
    "Armijo",
    "BarzilaiBorweinFirstStep",
    "Certificate",
    "ConstantStep",
    "FixedFirstStep",
    "Record",
    "Safeguard",
    "Solution",
    "Solver",
    "SolverState",
    "Status",
    "blank_record",
    "certify",
    "gnc_flow",
    "gradient_descent",
    "gradient_like",
    "iterate",
    "linear_schedule",
    "log_schedule",
    "preconditioned",
    "solve",
]
