"""What becomes of a finding: the alert it belongs to (alerts.py), and what is done about it (rules.py)."""

from controlplane.policy.alerts import Alerts, Raised
from controlplane.policy.rules import Policy, Rule, Verdict

__all__ = ["Alerts", "Policy", "Raised", "Rule", "Verdict"]
