"""No module imports itself by way of others: imports within functions count, those for type checkers do not."""

import grimp
import networkx

import landsift


def test_no_module_imports_itself_by_way_of_others():
    graph = grimp.build_graph("landsift", exclude_type_checking_imports=True, cache_dir=None)
    imports = networkx.DiGraph(
        (module, imported) for module in graph.modules for imported in graph.find_modules_directly_imported_by(module)
    )
    imports.add_edges_from(("landsift", home) for home in landsift._HOMES.values())  # when a public name is asked for
    assert imports.has_edge("landsift.training.worker", "landsift.training.fit")  # which stands in a function
    assert not imports.has_edge("landsift.training.trainable", "landsift.training.phases")  # for type checkers
    assert [knot for knot in networkx.strongly_connected_components(imports) if len(knot) > 1] == []
