"""The expression language of flows (flow8 section 7): pure, bounded, compiled to closures."""

from services.executor.expressions.errors import ExpressionError, NeedsValue, PatternError
from services.executor.expressions.expression import Expression, compile_expression, unparse
from services.executor.expressions.gotemplate import render_go_template
from services.executor.expressions.limits import EXPRESSION_DEPTH_MAX, OUTPUT_BYTES_MAX
from services.executor.expressions.module_args import compile_module_args
from services.executor.expressions.regex import compile_pattern
from services.executor.expressions.scope import Scope, StepView
from services.executor.expressions.template import Template, compile_value
from services.executor.expressions.values import equal, is_empty, number_of, stringify, truthy

__all__ = [
    "EXPRESSION_DEPTH_MAX",
    "OUTPUT_BYTES_MAX",
    "Expression",
    "ExpressionError",
    "NeedsValue",
    "PatternError",
    "Scope",
    "StepView",
    "Template",
    "compile_expression",
    "compile_module_args",
    "compile_pattern",
    "compile_value",
    "equal",
    "is_empty",
    "number_of",
    "render_go_template",
    "stringify",
    "truthy",
    "unparse",
]
