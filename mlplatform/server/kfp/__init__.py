"""KFP's REST API, ``/apis/v2beta1``, over our store: what a stock ``kfp.Client`` of 2.17 asks for. kfp is not imported.

Ids are ours, words are KFP's: display_name, storage_state, CANCELED. Bodies are read as protobuf JSON is: either
spelling of a field's name, numbers as text, unknown fields left alone.
"""
