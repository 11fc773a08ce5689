"""The expression language of flows (flow8 section 7): pure, bounded, compiled to closures."""

from libs.expressions.errors import ExpressionError, NeedsValue, PatternError
from libs.expressions.expression import Expression, compile_expression, unparse
from libs.expressions.gotemplate import render_go_template
from libs.expressions.limits import EXPRESSION_DEPTH_MAX, OUTPUT_BYTES_MAX
from libs.expressions.module_args import compile_module_args
from libs.expressions.regex import compile_pattern
from libs.expressions.scope import Scope, StepView
from libs.expressions.template import Template, compile_value
from libs.expressions.values import equal, is_empty, number_of, stringify, truthy

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
