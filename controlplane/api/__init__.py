"""What people and orchestrators ask the plane, over gRPC: one servicer a file, named as its service in proto/.

Every call passes guard.py first: who calls, may they, and errors as google.rpc.Status. What goes out passes mask.py.
"""
