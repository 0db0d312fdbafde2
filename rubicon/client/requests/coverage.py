"""What hosts see, and whether events come through."""

from __future__ import annotations

from rubicon.client.records.coverage import Coverage
from rubicon.client.requests.call import Call, message
from rubicon.v1 import coverage_service_pb2


def list_coverage(host: str) -> Call[list[Coverage]]:
    """What the hosts see."""
    request = message(coverage_service_pb2.ListCoverageRequest, host=host)
    return Call("CoverageService", "ListCoverage", request, lambda answer: [*map(Coverage.of, answer.coverage)])


def probe_pipeline(host: str) -> Call[float]:
    """Seconds that a synthetic event took from the command to the store."""
    request = message(coverage_service_pb2.ProbePipelineRequest, host=host)

    def read(answer: coverage_service_pb2.ProbePipelineResponse) -> float:
        return answer.elapsed.seconds + answer.elapsed.nanos / 1e9

    return Call("CoverageService", "ProbePipeline", request, read, timeout=45)
