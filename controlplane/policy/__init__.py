"""What becomes of a finding: the alert it belongs to (alerts.py), and what is done about it: the rules (rules.py) of the
settings file (file.py), what one agent has had done (answers.py), how many agents a rule may stop at once (gate.py), and
having it done (carry.py).
"""

from controlplane.policy.alerts import Alerts, Raised
from controlplane.policy.answers import Answers
from controlplane.policy.carry import Carrier
from controlplane.policy.gate import Gate
from controlplane.policy.rules import Policy, Rule, Verdict

__all__ = ["Alerts", "Answers", "Carrier", "Gate", "Policy", "Raised", "Rule", "Verdict"]
